"""Record COM progress callbacks: interfaces and contracts as data, the trace file, the recording callback."""
