"""Everything that the worker says to RabbitMQ, and what reaches behind the client library."""
