"""What adapters send beside a file, as text: each defines `adapt(namespace, path)`."""
