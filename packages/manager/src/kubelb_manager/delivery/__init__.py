"""From resource tables to Envoys: cache, one protocol machine per stream, gRPC server, acknowledgements."""
