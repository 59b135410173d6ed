"""The front door: arguments, overrides, composing the configuration."""
