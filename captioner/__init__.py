"""A captioner's life: trained, saved, tested."""
