"""What is shipped in deploy/: units, manifests, rules, and servers that run with it."""
