"""The bounded queue of `buffered`: its two ends, its queue, its account. Internal to that operator."""
