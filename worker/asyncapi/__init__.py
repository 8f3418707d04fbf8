"""Describes the contract as an AsyncAPI document, which is made from the schemas and the topology."""

from worker.asyncapi.document import document

__all__ = ["document"]
