"""Deliveries: channels, retries, receipts."""
