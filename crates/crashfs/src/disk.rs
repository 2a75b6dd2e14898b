//! The disk: files and folders in memory, each change of which goes into the log.
//!
//! It behaves as a system that never loses power would show it; what a cut leaves is `replay`'s business. Paths are
//! absolute and may not have `..`.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::image::Image;
use crate::locks::{FileLocks, LogIndex};
use crate::log::{Ino, Log, Name, Op};
use crate::vfs;

/// Where a disk is mounted; a name that exists on no machine.
const ROOT: &str = "/crashfs";

/// Decides which syncs a disk does; the others it only says to have done.
///
/// This is how faults are planted: a sync that a program forgot and a sync that is skipped leave the same log.
#[derive(Clone, Copy, Debug)]
pub struct Honesty {
    /// Whether the sync of the file of that path is done.
    pub file: fn(&Path) -> bool,
    /// Whether the sync of the folder of that path is done.
    pub dir: fn(&Path) -> bool,
}

impl Default for Honesty {
    fn default() -> Self {
        Self { file: |_| true, dir: |_| true }
    }
}

/// A disk in memory with a log of all that happened to it.
#[derive(Debug)]
pub struct Disk {
    state: Mutex<State>,
    honesty: Honesty,
    vfs_name: &'static CStr,
}

#[derive(Debug)]
pub(crate) struct State {
    nodes: Vec<Node>,
    ops: Vec<Op>,
}

#[derive(Debug)]
enum Node {
    Dir(BTreeMap<String, Ino>),
    File(FileNode),
}

/// A file as it is now.
#[derive(Debug, Default)]
pub(crate) struct FileNode {
    pub(crate) content: Vec<u8>,
    pub(crate) locks: FileLocks,
    pub(crate) index: Option<LogIndex>,
}

/// The root folder of every disk.
pub(crate) const ROOT_INO: Ino = Ino(0);

impl Disk {
    /// Makes an empty disk and gives SQLite access to it.
    ///
    /// # Errors
    /// When SQLite does not take the VFS.
    pub fn new(honesty: Honesty) -> io::Result<Arc<Self>> {
        let mut registered = Ok(());
        let disk = Arc::new_cyclic(|weak| {
            let (vfs_name, outcome) = vfs::register(weak.clone());
            registered = outcome;
            let state = State { nodes: vec![Node::Dir(BTreeMap::new())], ops: Vec::new() };
            Self { state: Mutex::new(state), honesty, vfs_name }
        });
        registered.map(|()| disk)
    }

    /// Makes a disk as it was after some operations of a log, for a process that is killed there and started again.
    ///
    /// What was not synced then is still not durable; `honesty` is about what comes after.
    ///
    /// # Errors
    /// When SQLite does not take the VFS, or the log is not that of a disk.
    pub fn replayed(log: &Log, position: usize, honesty: Honesty) -> io::Result<Arc<Self>> {
        let disk = Self::new(honesty)?;
        let mut state = disk.state();
        for op in log.ops.iter().take(position) {
            state.redo(op)?;
            state.ops.push(op.clone());
        }
        drop(state);
        Ok(disk)
    }

    /// Makes a disk that holds an image, all of it durable.
    ///
    /// # Errors
    /// When SQLite does not take the VFS.
    pub fn holding(image: &Image) -> io::Result<Arc<Self>> {
        let disk = Self::new(Honesty::default())?;
        let root = disk.root();
        for dir in &image.dirs {
            disk.make_dir(&root.join(dir))?;
        }
        for (path, content) in &image.files {
            let file = disk.open(&root.join(path), true)?;
            file.write_at(0, content)?;
            file.sync()?;
        }
        for dir in std::iter::once(&PathBuf::new()).chain(&image.dirs) {
            disk.sync_dir(&root.join(dir))?;
        }
        Ok(disk)
    }

    /// Gives the name under which SQLite opens databases on this disk.
    #[must_use]
    pub fn vfs_name(&self) -> &'static CStr {
        self.vfs_name
    }

    /// Gives the folder that holds all of the disk.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        PathBuf::from(ROOT)
    }

    /// Notes that somebody was told that something is safe, and gives its place in the log.
    pub fn ack(&self, what: impl Into<String>) -> usize {
        let mut state = self.state();
        state.ops.push(Op::Ack { what: what.into() });
        state.ops.len()
    }

    /// Gives the number of things that have happened.
    #[must_use]
    pub fn position(&self) -> usize {
        self.state().ops.len()
    }

    /// Gives a copy of the log so far.
    #[must_use]
    pub fn log(&self) -> Log {
        Log { ops: self.state().ops.clone(), root: self.root() }
    }

    /// Makes a folder and its parents. New names are durable after [`Disk::sync_dir`] of their folders.
    ///
    /// # Errors
    /// When a file is in the way.
    pub fn make_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let mut dir = ROOT_INO;
        for name in parts(path)? {
            dir = match state.dir(dir)?.get(&name) {
                Some(found) => *found,
                None => state.link(Name { dir, name }, Node::Dir(BTreeMap::new()))?,
            };
        }
        state.dir(dir).map(|_| ())
    }

    /// Opens a file; `create` makes it when it is missing.
    ///
    /// # Errors
    /// When it is missing, or a folder.
    pub fn open(self: &Arc<Self>, path: &Path, create: bool) -> io::Result<FileHandle> {
        let mut state = self.state();
        let (dir, name) = state.locate(path)?;
        let (file, is_new) = match state.dir(dir)?.get(&name) {
            Some(found) => (*found, false),
            None if create => (state.link(Name { dir, name }, Node::File(FileNode::default()))?, true),
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        state.file(file)?;
        drop(state);
        Ok(FileHandle { disk: Arc::clone(self), file, path: path.to_owned(), is_new })
    }

    /// Makes a file without a name, which no cut leaves behind.
    pub fn open_nameless(self: &Arc<Self>) -> FileHandle {
        let mut state = self.state();
        let file = state.add(Node::File(FileNode::default()));
        drop(state);
        FileHandle { disk: Arc::clone(self), file, path: PathBuf::new(), is_new: true }
    }

    /// Renames a file over whatever has the new name.
    ///
    /// # Errors
    /// When it is missing.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let (from_dir, from_name) = state.locate(from)?;
        let (to_dir, to_name) = state.locate(to)?;
        state.dir(to_dir)?;
        let node = state.dir(from_dir)?.remove(&from_name).ok_or(io::ErrorKind::NotFound)?;
        let replaced = state.dir(to_dir)?.insert(to_name.clone(), node).filter(|old| *old != node);
        let (from, to) = (Name { dir: from_dir, name: from_name }, Name { dir: to_dir, name: to_name });
        state.ops.push(Op::Rename { from, to, node, replaced });
        Ok(())
    }

    /// Removes a name.
    ///
    /// # Errors
    /// When it is missing.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let (dir, name) = state.locate(path)?;
        let node = state.dir(dir)?.remove(&name).ok_or(io::ErrorKind::NotFound)?;
        state.ops.push(Op::Unlink { at: Name { dir, name }, node });
        Ok(())
    }

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// When it is missing.
    pub fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let dir = state.find(path)?;
        state.dir(dir)?;
        if (self.honesty.dir)(path) {
            state.ops.push(Op::SyncDir { dir });
        }
        Ok(())
    }

    /// Gives the length of a file in bytes; `None` when there is none.
    ///
    /// # Errors
    /// When it is a folder.
    pub fn len(&self, path: &Path) -> io::Result<Option<usize>> {
        let mut state = self.state();
        match state.find(path) {
            Ok(ino) => state.file(ino).map(|file| Some(file.content.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Tells whether a folder of that path is there.
    #[must_use]
    pub fn is_dir(&self, path: &Path) -> bool {
        let mut state = self.state();
        state.find(path).and_then(|ino| state.dir(ino).map(|_| ())).is_ok()
    }

    /// Lists the names in a folder.
    ///
    /// # Errors
    /// When it is missing.
    pub fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut state = self.state();
        let dir = state.find(path)?;
        Ok(state.dir(dir)?.keys().cloned().collect())
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FileNode {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset.saturating_add(bytes.len());
        if self.content.len() < end {
            self.content.resize(end, 0);
        }
        if let Some(to) = self.content.get_mut(offset..end) {
            to.copy_from_slice(bytes);
        }
    }
}

impl State {
    fn add(&mut self, node: Node) -> Ino {
        self.nodes.push(node);
        Ino(self.nodes.len() - 1)
    }

    fn link(&mut self, at: Name, node: Node) -> io::Result<Ino> {
        let is_dir = matches!(node, Node::Dir(_));
        let made = self.add(node);
        self.dir(at.dir)?.insert(at.name.clone(), made);
        self.ops.push(Op::Link { at, node: made, is_dir });
        Ok(made)
    }

    /// Does an operation of a log again.
    fn redo(&mut self, op: &Op) -> io::Result<()> {
        match op {
            Op::Write { file, offset, bytes } => self.file(*file)?.write(*offset, bytes),
            Op::Truncate { file, len } => self.file(*file)?.content.resize(*len, 0),
            Op::Link { at, node, is_dir } => {
                // Files without a name took numbers too.
                while self.nodes.len() <= node.0 {
                    self.nodes.push(Node::File(FileNode::default()));
                }
                if let Some(made) = self.nodes.get_mut(node.0).filter(|_| *is_dir) {
                    *made = Node::Dir(BTreeMap::new());
                }
                self.dir(at.dir)?.insert(at.name.clone(), *node);
            }
            Op::Unlink { at, .. } => drop(self.dir(at.dir)?.remove(&at.name)),
            Op::Rename { from, to, node, .. } => {
                self.dir(from.dir)?.remove(&from.name);
                self.dir(to.dir)?.insert(to.name.clone(), *node);
            }
            Op::Sync { .. } | Op::SyncDir { .. } | Op::Ack { .. } => {}
        }
        Ok(())
    }

    fn dir(&mut self, ino: Ino) -> io::Result<&mut BTreeMap<String, Ino>> {
        match self.nodes.get_mut(ino.0) {
            Some(Node::Dir(names)) => Ok(names),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    pub(crate) fn file(&mut self, ino: Ino) -> io::Result<&mut FileNode> {
        match self.nodes.get_mut(ino.0) {
            Some(Node::File(file)) => Ok(file),
            _ => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    /// Gives the folder of a path, and the last name, which need not exist.
    fn locate(&mut self, path: &Path) -> io::Result<(Ino, String)> {
        let mut names = parts(path)?;
        let last = names.pop().ok_or(io::ErrorKind::InvalidInput)?;
        let mut dir = ROOT_INO;
        for name in names {
            dir = *self.dir(dir)?.get(&name).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok((dir, last))
    }

    fn find(&mut self, path: &Path) -> io::Result<Ino> {
        if parts(path)?.is_empty() {
            return Ok(ROOT_INO);
        }
        let (dir, name) = self.locate(path)?;
        self.dir(dir)?.get(&name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Gives the names below the root of the disk.
fn parts(path: &Path) -> io::Result<Vec<String>> {
    let below = path.strip_prefix(ROOT).map_err(|_| io::ErrorKind::InvalidInput)?;
    let name = |part: Component<'_>| match part {
        Component::Normal(name) => name.to_str().map(str::to_owned).ok_or(io::ErrorKind::InvalidInput.into()),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    };
    below.components().map(name).collect()
}

/// An open file.
#[derive(Clone, Debug)]
pub struct FileHandle {
    disk: Arc<Disk>,
    file: Ino,
    path: PathBuf,
    is_new: bool,
}

impl FileHandle {
    /// Tells whether this call made the file.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Reads from a place; gives fewer bytes than asked for at the end only.
    ///
    /// # Errors
    /// Never for a file that was opened.
    pub fn read_at(&self, offset: usize, into: &mut [u8]) -> io::Result<usize> {
        self.with(|node| {
            let rest = node.content.get(offset..).unwrap_or_default();
            let got = rest.len().min(into.len());
            if let (Some(to), Some(from)) = (into.get_mut(..got), rest.get(..got)) {
                to.copy_from_slice(from);
            }
            got
        })
    }

    /// Writes at a place; a gap before it becomes zeros.
    ///
    /// # Errors
    /// When the place is beyond memory.
    pub fn write_at(&self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        offset.checked_add(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        let mut state = self.disk.state();
        state.file(self.file)?.write(offset, bytes);
        if self.has_name() {
            state.ops.push(Op::Write { file: self.file, offset, bytes: bytes.into() });
        }
        Ok(())
    }

    /// Cuts the file, or extends it with zeros.
    ///
    /// # Errors
    /// Never for a file that was opened.
    pub fn truncate(&self, len: usize) -> io::Result<()> {
        let mut state = self.disk.state();
        state.file(self.file)?.content.resize(len, 0);
        if self.has_name() {
            state.ops.push(Op::Truncate { file: self.file, len });
        }
        Ok(())
    }

    /// Makes content and length durable.
    ///
    /// # Errors
    /// Never for a file that was opened.
    pub fn sync(&self) -> io::Result<()> {
        if self.has_name() && (self.disk.honesty.file)(&self.path) {
            self.disk.state().ops.push(Op::Sync { file: self.file });
        }
        Ok(())
    }

    /// Gives the length, bytes.
    ///
    /// # Errors
    /// Never for a file that was opened.
    pub fn len(&self) -> io::Result<usize> {
        self.with(|node| node.content.len())
    }

    /// Tells whether nothing is in the file.
    ///
    /// # Errors
    /// Never for a file that was opened.
    pub fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// Gives the disk that the file is on.
    #[must_use]
    pub fn disk(&self) -> &Arc<Disk> {
        &self.disk
    }

    /// Gives the path under which the file was opened; empty when it has no name.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut FileNode) -> T) -> io::Result<T> {
        self.disk.state().file(self.file).map(act)
    }

    /// A nameless file leaves nothing behind, so its content is not in the log.
    fn has_name(&self) -> bool {
        !self.path.as_os_str().is_empty()
    }
}
