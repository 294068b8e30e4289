"""How an image gets to the nodes of a cluster: one file a way, chosen by what the cluster is."""
