"""The one layer that is called by name: the rotary embedding."""
