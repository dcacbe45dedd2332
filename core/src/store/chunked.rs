//! Large atomic batches over stores that only take small ones (placeholder, see ChunkedStore).
/// Makes large batches atomic over stores with small ones.
#[derive(Debug)]
pub struct ChunkedStore<S>(S);
