"""The verbs: Invoke collections, one file a noun, over the library in noetl.ops."""

from invoke.collection import Collection

from noetl.tasks import catalog, credential, db, development, everything, execution, host, image, k8s, server, service, worker

ns = Collection()
for _verb in (everything.up, everything.down, everything.ps, everything.doctor, everything.logs, everything.demo, everything.run):
    ns.add_task(_verb)
for _verb in (image.build, development.test, development.lint, development.bench, development.chaos):
    ns.add_task(_verb)
for _noun in (server, worker, db, catalog, credential, execution, host, k8s, service):
    ns.add_collection(Collection.from_module(_noun))
