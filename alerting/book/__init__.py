"""The alarm book: verdicts, presses and receipts in; notices, commands and records out. Pure."""
