//! The objects of buckets, each a file with its bytes and one with its content type. An object is
//! there as a whole or not at all.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;

/// Objects in files.
#[derive(Debug, Clone)]
pub struct Objects {
    folder: PathBuf,
}

/// An object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) content_type: String,
    pub(crate) bytes: Bytes,
}

impl Objects {
    /// Those below a folder, which need not be there yet.
    pub fn below(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// How many there are of a bucket.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn count(&self, bucket: &str) -> io::Result<usize> {
        match fs::read_dir(self.folder.join(bucket)) {
            Ok(files) => {
                let names = files.map(|file| Ok(file?.path()));
                let names: Vec<PathBuf> = names.collect::<io::Result<_>>()?;
                let is_object = |path: &&PathBuf| path.extension().is_some_and(|of| of == BYTES);
                Ok(names.iter().filter(is_object).count())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn get(&self, bucket: &str, key: &str) -> io::Result<Option<Object>> {
        let (bytes, content_type) = self.files(bucket, key);
        match fs::read(bytes) {
            Ok(bytes) => Ok(Some(Object {
                content_type: fs::read_to_string(content_type)?,
                bytes: bytes.into(),
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts an object in the place of the one that is there; if `is_new`, only where none is.
    /// Whether it was put.
    pub(crate) fn put(
        &self,
        bucket: &str,
        key: &str,
        object: &Object,
        is_new: bool,
    ) -> io::Result<bool> {
        let (bytes, content_type) = self.files(bucket, key);
        let folder = self.folder.join(bucket);
        fs::create_dir_all(&folder)?;
        if is_new && bytes.exists() {
            return Ok(false);
        }
        write_whole(&folder, &content_type, object.content_type.as_bytes())?;
        if is_new {
            return write_new(&folder, &bytes, &object.bytes);
        }
        write_whole(&folder, &bytes, &object.bytes)?;
        Ok(true)
    }

    pub(crate) fn delete(&self, bucket: &str, key: &str) -> io::Result<()> {
        let (bytes, content_type) = self.files(bucket, key);
        for file in [bytes, content_type] {
            match fs::remove_file(file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// A key may be any text, and a file's name not.
    fn files(&self, bucket: &str, key: &str) -> (PathBuf, PathBuf) {
        let file = |of| {
            let name = format!("{}.{of}", hex::encode(key));
            self.folder.join(bucket).join(name)
        };
        (file(BYTES), file("type"))
    }
}

const BYTES: &str = "bytes";

fn temporary(folder: &Path, content: &[u8]) -> io::Result<PathBuf> {
    let path = folder.join(format!("{}.new", uuid::Uuid::new_v4()));
    let mut file = fs::File::create(&path)?;
    file.write_all(content)?;
    Ok(path)
}

fn write_whole(folder: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    fs::rename(temporary(folder, content)?, path)
}

/// Of two that write at once, one is told that it came too late.
fn write_new(folder: &Path, path: &Path, content: &[u8]) -> io::Result<bool> {
    let temporary = temporary(folder, content)?;
    let linked = fs::hard_link(&temporary, path);
    fs::remove_file(&temporary)?;
    match linked {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_put_read_counted_and_deleted_under_any_key() {
        let folder = tempfile::tempdir().unwrap();
        let objects = Objects::below(folder.path());
        let object = |text: &'static str| Object {
            content_type: "text/plain".to_owned(),
            bytes: Bytes::from_static(text.as_bytes()),
        };
        let key = "../a/\u{fc}";
        assert_eq!(objects.get("b", key).unwrap(), None);
        assert_eq!(objects.count("b").unwrap(), 0);
        assert!(objects.put("b", key, &object("one"), true).unwrap());
        assert!(!objects.put("b", key, &object("two"), true).unwrap());
        assert_eq!(objects.get("b", key).unwrap(), Some(object("one")));
        assert!(objects.put("b", key, &object("two"), false).unwrap());
        assert_eq!(objects.get("b", key).unwrap(), Some(object("two")));
        assert_eq!(objects.count("b").unwrap(), 1);
        objects.delete("b", key).unwrap();
        objects.delete("b", key).unwrap();
        assert_eq!(objects.count("b").unwrap(), 0);
    }
}
