"""g3n beside its peers on the same machine; see README.md. Not installed with g3n."""
