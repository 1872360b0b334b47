-- The pool's folder on the filer that serves it over NFS; its host serves it where this is NULL.
ALTER TABLE pool ADD COLUMN filer TEXT;
