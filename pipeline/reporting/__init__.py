"""What people see: terminal, tables, manifest, page, sweep."""
