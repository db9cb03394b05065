"""The words both agents speak, and the runtime they run on."""
