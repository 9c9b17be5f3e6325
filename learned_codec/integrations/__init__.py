"""Integrations into other libraries. Each module uses only the public API of this one."""
