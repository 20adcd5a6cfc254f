"""MQTT intake, checks, journal writer; the journal and outbox types; the device registry."""
