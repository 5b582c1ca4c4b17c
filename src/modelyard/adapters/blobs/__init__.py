"""The blobs on fsspec: a folder here, an object store beyond. `store.FsspecBlobs` is the door."""
