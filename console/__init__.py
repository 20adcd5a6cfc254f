"""The operators' console: a read model, an API and a page. A process of its own."""
