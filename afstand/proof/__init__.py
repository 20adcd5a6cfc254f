"""Evidence: the past computed again, bundles that anybody can check, transfer of whole cases."""
