"""The contract as an AsyncAPI document: made from the schemas and the topology, so it cannot lag behind."""

from worker.asyncapi.document import document

__all__ = ["document"]
