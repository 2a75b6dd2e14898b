//! The way from SQLite to a [`Disk`]: a VFS that asks of the disk what SQLite's Unix VFS asks of the system.
//!
//! The index of the log (`-shm`) is memory shared by the connections of this process, as it is memory on a real
//! system; it is not on the disk. Nothing here decides what survives. Pointers are believed, since they come from
//! SQLite, and its rules for a VFS hold: a file's methods are called by one thread at a time, between xOpen and xClose.

#![expect(unsafe_code, reason = "SQLite calls a VFS through C function pointers")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::path::Path;
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use rusqlite::ffi;

use crate::disk::{Disk, FileHandle};
use crate::locks::{HeldSlots, INDEX_SLOTS, Level, LogIndex};

/// Longest path that SQLite may ask for, bytes; as its Unix VFS.
const PATH_BYTES_MAX: c_int = 512;

/// What SQLite's Unix VFS says of every disk: a write of some bytes never damages those beside it.
const DEVICE: c_int = ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE;

/// What SQLite's Unix VFS says of every disk, bytes. The replay tears at 512, which is less than SQLite hopes for.
const SECTOR_SAID_BYTES: c_int = 4096;

/// Numbers the VFSs of this process, for their names, and the connections, for their locks.
static NUMBER: AtomicU64 = AtomicU64::new(1);

/// What SQLite reserves room for and hands back at each call.
#[repr(C)]
struct OpenFile {
    base: ffi::sqlite3_file,
    connection: *mut Connection,
}

/// One file of one connection.
struct Connection {
    handle: FileHandle,
    number: u64,
    held: Level,
    /// Present while the connection uses the index of the log.
    slots: Option<HeldSlots>,
    /// The name is new: the next sync of the file is one of its folder as well.
    sync_dir: bool,
    delete_on_close: bool,
    keep_log: bool,
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(index_map),
    xShmLock: Some(index_lock),
    xShmBarrier: Some(index_barrier),
    xShmUnmap: Some(index_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// Makes a disk known to SQLite and gives its name there. The few hundred bytes stay for the life of the process.
pub(crate) fn register(disk: Weak<Disk>) -> (&'static CStr, io::Result<()>) {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name: &'static CStr = CString::new(format!("crashfs-{number}")).map_or(c"crashfs", |name| {
        let leaked: &'static CString = Box::leak(Box::new(name));
        leaked
    });
    let vfs = ffi::sqlite3_vfs {
        iVersion: 2,
        szOsFile: c_int::try_from(size_of::<OpenFile>()).unwrap_or(c_int::MAX),
        mxPathname: PATH_BYTES_MAX,
        pNext: std::ptr::null_mut(),
        zName: name.as_ptr(),
        pAppData: Box::into_raw(Box::new(disk)).cast(),
        xOpen: Some(open),
        xDelete: Some(delete),
        xAccess: Some(access),
        xFullPathname: Some(full_pathname),
        xDlOpen: None,
        xDlError: None,
        xDlSym: None,
        xDlClose: None,
        xRandomness: Some(randomness),
        xSleep: Some(sleep),
        xCurrentTime: Some(current_time),
        xGetLastError: None,
        xCurrentTimeInt64: Some(current_time_int64),
        xSetSystemCall: None,
        xGetSystemCall: None,
        xNextSystemCall: None,
    };
    // SAFETY: the structure is never freed, its name and functions live as long.
    let code = unsafe { ffi::sqlite3_vfs_register(Box::into_raw(Box::new(vfs)), 0) };
    let outcome = if code == ffi::SQLITE_OK { Ok(()) } else { Err(io::Error::other("SQLite took no VFS")) };
    (name, outcome)
}

/// Gives the disk of a VFS.
///
/// # Safety
///
/// `vfs` is one that [`register`] made.
unsafe fn disk_of(vfs: *mut ffi::sqlite3_vfs) -> Option<std::sync::Arc<Disk>> {
    // SAFETY: `register` put a leaked `Weak<Disk>` there.
    unsafe { (*(*vfs).pAppData.cast::<Weak<Disk>>()).upgrade() }
}

/// Gives the connection of a file.
///
/// # Safety
///
/// `file` was opened by [`open`] and is not closed; SQLite uses it from one thread at a time.
unsafe fn connection<'f>(file: *mut ffi::sqlite3_file) -> &'f mut Connection {
    // SAFETY: `open` put a leaked box there, which `close` alone takes back.
    unsafe { &mut *(*file.cast::<OpenFile>()).connection }
}

/// Gives a path that SQLite passed.
///
/// # Safety
///
/// `name` is null or a C string that outlives the result.
unsafe fn path_of<'p>(name: *const c_char) -> Option<&'p Path> {
    if name.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(name) }.to_str().ok().map(Path::new)
}

fn code(result: &io::Result<()>, failed: c_int) -> c_int {
    if result.is_ok() { ffi::SQLITE_OK } else { failed }
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let out = file.cast::<OpenFile>();
    // SAFETY: SQLite gives room of `szOsFile` bytes; null methods say that there is nothing to close.
    unsafe { (*out).base.pMethods = std::ptr::null() };
    // SAFETY: SQLite passes the VFS that it was given.
    let Some(disk) = (unsafe { disk_of(vfs) }) else { return ffi::SQLITE_CANTOPEN };
    let create = flags & ffi::SQLITE_OPEN_CREATE != 0;
    // SAFETY: SQLite passes null or a path that lives as long as the file.
    let handle = match unsafe { path_of(name) } {
        Some(path) => disk.open(path, create),
        None => Ok(disk.open_nameless()),
    };
    let Ok(handle) = handle else { return ffi::SQLITE_CANTOPEN };
    let journals = ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_SUPER_JOURNAL | ffi::SQLITE_OPEN_WAL;
    let connection = Connection {
        // As the Unix VFS: with creation allowed, whether or not this call was the one that made it.
        sync_dir: create && flags & journals != 0,
        handle,
        number: NUMBER.fetch_add(1, Ordering::Relaxed),
        held: Level::None,
        slots: None,
        delete_on_close: flags & ffi::SQLITE_OPEN_DELETEONCLOSE != 0,
        keep_log: false,
    };
    // SAFETY: as above; `out_flags` may be null.
    unsafe {
        (*out).connection = Box::into_raw(Box::new(connection));
        (*out).base.pMethods = &raw const METHODS;
        if !out_flags.is_null() {
            *out_flags = flags;
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, sync_dir: c_int) -> c_int {
    // SAFETY: SQLite passes the VFS that it was given, and a path.
    let (Some(disk), Some(path)) = (unsafe { (disk_of(vfs), path_of(name)) }) else {
        return ffi::SQLITE_IOERR_DELETE;
    };
    match disk.remove(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return ffi::SQLITE_IOERR_DELETE_NOENT,
        Err(_) => return ffi::SQLITE_IOERR_DELETE,
    }
    match path.parent().filter(|_| sync_dir & 1 != 0) {
        Some(dir) => code(&disk.sync_dir(dir), ffi::SQLITE_IOERR_DIR_FSYNC),
        None => ffi::SQLITE_OK,
    }
}

unsafe extern "C" fn access(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite passes the VFS that it was given, and a path.
    let (Some(disk), Some(path)) = (unsafe { (disk_of(vfs), path_of(name)) }) else {
        return ffi::SQLITE_IOERR_ACCESS;
    };
    let len = disk.len(path).ok().flatten();
    // As the Unix VFS: an empty file does not exist.
    let there = if flags == ffi::SQLITE_ACCESS_EXISTS {
        len.is_some_and(|len| len > 0) || disk.is_dir(path)
    } else {
        len.is_some()
    };
    // SAFETY: SQLite passes room for the answer.
    unsafe { *out = c_int::from(there) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_pathname(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    room: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: SQLite passes a C string.
    let bytes = unsafe { CStr::from_ptr(name) }.to_bytes_with_nul();
    if usize::try_from(room).unwrap_or(0) < bytes.len() {
        return ffi::SQLITE_CANTOPEN;
    }
    // SAFETY: SQLite passes `room` bytes at `out`, which are enough and not part of `name`.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), out.cast(), bytes.len()) };
    ffi::SQLITE_OK
}

/// Gives SQLite's own VFS, for what is no business of a disk.
fn system() -> Option<&'static mut ffi::sqlite3_vfs> {
    // SAFETY: SQLite's own VFS lives as long as the process; its functions take themselves care of threads.
    unsafe { ffi::sqlite3_vfs_find(std::ptr::null()).as_mut() }
}

unsafe extern "C" fn randomness(_: *mut ffi::sqlite3_vfs, count: c_int, out: *mut c_char) -> c_int {
    let Some(system) = system() else { return 0 };
    // SAFETY: the arguments are passed on to SQLite's own VFS.
    system.xRandomness.map_or(0, |call| unsafe { call(system, count, out) })
}

unsafe extern "C" fn sleep(_: *mut ffi::sqlite3_vfs, wait_us: c_int) -> c_int {
    let Some(system) = system() else { return 0 };
    // SAFETY: the arguments are passed on to SQLite's own VFS.
    system.xSleep.map_or(0, |call| unsafe { call(system, wait_us) })
}

unsafe extern "C" fn current_time(_: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    let Some(system) = system() else { return ffi::SQLITE_ERROR };
    // SAFETY: the arguments are passed on to SQLite's own VFS.
    system.xCurrentTime.map_or(ffi::SQLITE_ERROR, |call| unsafe { call(system, out) })
}

unsafe extern "C" fn current_time_int64(_: *mut ffi::sqlite3_vfs, out: *mut ffi::sqlite3_int64) -> c_int {
    let Some(system) = system() else { return ffi::SQLITE_ERROR };
    // SAFETY: the arguments are passed on to SQLite's own VFS.
    system.xCurrentTimeInt64.map_or(ffi::SQLITE_ERROR, |call| unsafe { call(system, out) })
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: `open` put a leaked box there; SQLite closes a file once.
    let mut connection = unsafe { Box::from_raw((*file.cast::<OpenFile>()).connection) };
    connection.leave_index();
    let (number, held) = (connection.number, connection.held);
    let closed = connection.handle.with(|node| node.locks.lower(number, held, Level::None));
    if connection.delete_on_close && !connection.handle.path().as_os_str().is_empty() {
        return code(&connection.handle.disk().remove(connection.handle.path()), ffi::SQLITE_IOERR_DELETE);
    }
    code(&closed, ffi::SQLITE_IOERR_CLOSE)
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    into: *mut c_void,
    count: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    let (Ok(count), Ok(offset)) = (usize::try_from(count), usize::try_from(offset)) else {
        return ffi::SQLITE_IOERR_READ;
    };
    // SAFETY: SQLite passes `count` bytes, which hold something since they are bytes of its own buffers; zeroing them
    // first makes that sure.
    let into = unsafe {
        into.cast::<u8>().write_bytes(0, count);
        std::slice::from_raw_parts_mut(into.cast::<u8>(), count)
    };
    // SAFETY: the file is open.
    match unsafe { connection(file) }.handle.read_at(offset, into) {
        Ok(got) if got == count => ffi::SQLITE_OK,
        Ok(_) => ffi::SQLITE_IOERR_SHORT_READ,
        Err(_) => ffi::SQLITE_IOERR_READ,
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    count: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    let (Ok(count), Ok(offset)) = (usize::try_from(count), usize::try_from(offset)) else {
        return ffi::SQLITE_IOERR_WRITE;
    };
    // SAFETY: SQLite passes `count` bytes that it does not change meanwhile.
    let bytes = unsafe { std::slice::from_raw_parts(from.cast::<u8>(), count) };
    // SAFETY: the file is open.
    code(&unsafe { connection(file) }.handle.write_at(offset, bytes), ffi::SQLITE_IOERR_WRITE)
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, len: ffi::sqlite3_int64) -> c_int {
    let Ok(len) = usize::try_from(len) else { return ffi::SQLITE_IOERR_TRUNCATE };
    // SAFETY: the file is open.
    code(&unsafe { connection(file) }.handle.truncate(len), ffi::SQLITE_IOERR_TRUNCATE)
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: the file is open.
    let connection = unsafe { connection(file) };
    if connection.handle.sync().is_err() {
        return ffi::SQLITE_IOERR_FSYNC;
    }
    if std::mem::take(&mut connection.sync_dir)
        && let Some(dir) = connection.handle.path().parent()
    {
        return code(&connection.handle.disk().sync_dir(dir), ffi::SQLITE_IOERR_DIR_FSYNC);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, out: *mut ffi::sqlite3_int64) -> c_int {
    // SAFETY: the file is open.
    let len = unsafe { connection(file) }.handle.len();
    let Some(len) = len.ok().and_then(|len| i64::try_from(len).ok()) else { return ffi::SQLITE_IOERR_FSTAT };
    // SAFETY: SQLite passes room for the answer.
    unsafe { *out = len };
    ffi::SQLITE_OK
}

fn level(number: c_int) -> Level {
    match number {
        ffi::SQLITE_LOCK_NONE => Level::None,
        ffi::SQLITE_LOCK_SHARED => Level::Shared,
        ffi::SQLITE_LOCK_RESERVED => Level::Reserved,
        ffi::SQLITE_LOCK_PENDING => Level::Pending,
        _ => Level::Exclusive,
    }
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, wanted: c_int) -> c_int {
    // SAFETY: the file is open.
    let connection = unsafe { connection(file) };
    let (number, held, wanted) = (connection.number, connection.held, level(wanted));
    match connection.handle.with(|node| node.locks.raise(number, held, wanted)) {
        Ok(reached) => connection.held = reached,
        Err(_) => return ffi::SQLITE_IOERR_LOCK,
    }
    if connection.held >= wanted { ffi::SQLITE_OK } else { ffi::SQLITE_BUSY }
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, wanted: c_int) -> c_int {
    // SAFETY: the file is open.
    let connection = unsafe { connection(file) };
    let (number, held, wanted) = (connection.number, connection.held, level(wanted));
    if held > wanted {
        let lowered = connection.handle.with(|node| node.locks.lower(number, held, wanted));
        connection.held = wanted;
        return code(&lowered, ffi::SQLITE_IOERR_UNLOCK);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: the file is open.
    let reserved = unsafe { connection(file) }.handle.with(|node| node.locks.is_reserved());
    // SAFETY: SQLite passes room for the answer.
    unsafe { *out = c_int::from(reserved.unwrap_or(true)) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_control(file: *mut ffi::sqlite3_file, what: c_int, value: *mut c_void) -> c_int {
    // SAFETY: the file is open.
    let connection = unsafe { connection(file) };
    let value = value.cast::<c_int>();
    match what {
        ffi::SQLITE_FCNTL_PERSIST_WAL => {
            // SAFETY: for this request SQLite passes an int: negative asks, else sets.
            unsafe {
                if *value < 0 {
                    *value = c_int::from(connection.keep_log);
                } else {
                    connection.keep_log = *value != 0;
                }
            }
            ffi::SQLITE_OK
        }
        ffi::SQLITE_FCNTL_POWERSAFE_OVERWRITE => {
            // SAFETY: as above; it is always so here.
            unsafe { *value = 1 };
            ffi::SQLITE_OK
        }
        _ => ffi::SQLITE_NOTFOUND,
    }
}

unsafe extern "C" fn sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    SECTOR_SAID_BYTES
}

unsafe extern "C" fn device_characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    DEVICE
}

impl Connection {
    /// Gives the index of the log, which the first connection makes.
    fn with_index<T>(&mut self, act: impl FnOnce(&mut LogIndex, &mut HeldSlots) -> T) -> io::Result<T> {
        let is_new = self.slots.is_none();
        let slots = self.slots.get_or_insert_default();
        self.handle.with(|node| {
            let index = node.index.get_or_insert_default();
            index.users += usize::from(is_new);
            act(index, slots)
        })
    }

    fn leave_index(&mut self) {
        let Some(mut slots) = self.slots.take() else { return };
        let left = self.handle.with(|node| {
            let Some(index) = &mut node.index else { return };
            index.give_back(&mut slots, 0, INDEX_SLOTS);
            index.users = index.users.saturating_sub(1);
            if index.users == 0 {
                node.index = None;
            }
        });
        debug_assert!(left.is_ok(), "an open file is a file");
    }
}

unsafe extern "C" fn index_map(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    region_bytes: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    // SAFETY: the file is open.
    let connection = unsafe { connection(file) };
    let (Ok(region), Ok(bytes)) = (usize::try_from(region), usize::try_from(region_bytes)) else {
        return ffi::SQLITE_IOERR_SHMMAP;
    };
    let found = connection.with_index(|index, _| {
        while extend != 0 && index.regions.len() <= region {
            index.regions.push((0..bytes.div_ceil(8)).map(|_| AtomicU64::new(0)).collect());
        }
        // The words may be changed through a shared reference, so the pointer may be written through.
        index.regions.get(region).map_or(std::ptr::null_mut(), |words| words.as_ptr().cast_mut().cast())
    });
    let Ok(pointer) = found else { return ffi::SQLITE_IOERR_SHMMAP };
    // SAFETY: SQLite passes room for the answer. The region stays where it is until the last connection leaves.
    unsafe { *out = pointer };
    ffi::SQLITE_OK
}

unsafe extern "C" fn index_lock(
    file: *mut ffi::sqlite3_file,
    first: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    // SAFETY: the file is open.
    let connection = unsafe { connection(file) };
    let (Ok(first), Ok(count)) = (usize::try_from(first), usize::try_from(count)) else {
        return ffi::SQLITE_IOERR_SHMLOCK;
    };
    let exclusive = flags & ffi::SQLITE_SHM_EXCLUSIVE != 0;
    let taken = connection.with_index(|index, held| {
        if flags & ffi::SQLITE_SHM_LOCK != 0 {
            return index.take(held, first, count, exclusive);
        }
        index.give_back(held, first, count);
        true
    });
    match taken {
        Ok(true) => ffi::SQLITE_OK,
        Ok(false) => ffi::SQLITE_BUSY,
        Err(_) => ffi::SQLITE_IOERR_SHMLOCK,
    }
}

unsafe extern "C" fn index_barrier(file: *mut ffi::sqlite3_file) {
    fence(Ordering::SeqCst);
    // SAFETY: the file is open. Taking the disk's lock orders this thread with the others, as the Unix VFS does.
    drop(unsafe { connection(file) }.handle.disk().state());
}

unsafe extern "C" fn index_unmap(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: the file is open.
    unsafe { connection(file) }.leave_index();
    ffi::SQLITE_OK
}

#[cfg(test)]
mod tests;
