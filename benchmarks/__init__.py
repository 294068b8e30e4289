"""What noetl costs on the machine that it runs on, beside the machine's own limits. Run with `inv bench`."""
