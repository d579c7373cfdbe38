"""The scenarios: who does what, and what is measured. Each returns figures by name, and decodes what everybody got."""
