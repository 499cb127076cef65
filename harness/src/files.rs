//! Files of the user: written in one step, so that nothing else is touched, and read up to a bound.
//!
//! Below everything that reads or writes. In: a path, and what the file is to hold. Out: the file, whole, or an
//! error and the file as it was. No other place of this crate writes a file; a test reads the sources for it.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Links that are followed from one name to a file: as many as the kernel follows (`path_resolution(7)`).
const MAX_LINKS: usize = 40;

/// Names that are tried for the temporary file. One is taken only where a process of the same number left it.
const MAX_NAMES: usize = 100;

/// Longest record that is read, in bytes, and answer of a process of a trial: a day of a million clients takes
/// less.
pub(crate) const MAX_RECORD_BYTES: u64 = 1 << 30;

/// Longest text that is read and that somebody wrote by hand: a scenario, a workload, a page.
pub(crate) const MAX_TEXT_BYTES: u64 = 16 << 20;

/// Reads the file at `path`, of at most `most` bytes: a device has no end.
///
/// # Errors
/// What the system said, `InvalidData` for what is not UTF-8, or `FileTooLarge`.
pub(crate) fn read_text(path: &Path, most: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    let read = File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if read as u64 > most {
        let error = format!("it holds more than the {most} bytes that are read of such a file");
        return Err(io::Error::new(ErrorKind::FileTooLarge, error));
    }
    let is_utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let why = match is_utf16 {
            true => "its byte order mark (BOM) is that of UTF-16, but UTF-8 is expected".to_owned(),
            false => format!("not UTF-8 from byte {at} on"),
        };
        io::Error::new(ErrorKind::InvalidData, why)
    })
}

/// Replaces the file at `path` by `text`. See [`replace`].
///
/// # Errors
/// What the system said; the file is then as it was.
pub(crate) fn write(path: &Path, text: &str) -> io::Result<()> {
    replace(path, |file| file.write_all(text.as_bytes()))
}

/// Replaces the file at `path` by what `fill` writes, in one step: whoever reads it sees what was there, or
/// all of this. A symbolic link stays one, and its target is replaced; mode and, where this user may, owner
/// stay; what is not a file, such as `/dev/stdout`, is written to.
///
/// # Errors
/// What the system said, or `fill`; the file is then as it was.
pub(crate) fn replace(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let existing = match fs::metadata(path) {
        Ok(found) => Some(found),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    // By its own name: the links of '/dev/stdout' end at a pipe, which has none.
    if existing.as_ref().is_some_and(|found| !found.is_file()) {
        let file = OpenOptions::new().write(true).open(path)?;
        return filled(file, fill).map(drop);
    }
    let target = target_of(path)?;
    let (temporary, file) = temporary_next_to(&target, existing.is_some())?;
    let written = filled(file, fill).and_then(|file| {
        if let Some(existing) = &existing {
            keep_owner_and_mode(&file, existing)?;
        }
        // Otherwise the name may reach the disk before the bytes do.
        file.sync_all()?;
        fs::rename(&temporary, &target)
    });
    match written {
        // The new name reaches the disk with its folder; where that cannot be forced, it does so later.
        Ok(()) => drop(File::open(folder_of(&target)).and_then(|folder| folder.sync_all())),
        // It is of no use to anyone, and the error that counts is the one above.
        Err(_) => drop(fs::remove_file(&temporary)),
    }
    written
}

/// Appends `text` to the file at `path`, which is made where there is none.
///
/// # Errors
/// What the system said.
pub(crate) fn append(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    file.write_all(text.as_bytes())
}

/// What `fill` makes of `file`.
/// Puts the folder `new` in the place of `old`, whatever is there: whoever looks sees one or the other, or for a
/// moment none.
///
/// # Errors
/// What the system said; `new` is then where it was, and `old` too.
pub(crate) fn replace_folder(new: &Path, old: &Path) -> io::Result<()> {
    fs::create_dir_all(folder_of(old))?;
    let mut aside = old.as_os_str().to_owned();
    aside.push(format!(".{}", std::process::id()));
    let aside = PathBuf::from(aside);
    let was_there = match fs::rename(old, &aside) {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        Err(error) => return Err(error),
    };
    if let Err(error) = fs::rename(new, old) {
        if was_there {
            fs::rename(&aside, old)?;
        }
        return Err(error);
    }
    if was_there {
        fs::remove_dir_all(&aside)?;
    }
    Ok(())
}

fn filled(
    file: File,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<File> {
    let mut file = BufWriter::new(file);
    fill(&mut file)?;
    file.into_inner().map_err(io::IntoInnerError::into_error)
}

/// The name at the end of all links, whether there is such a file or not.
fn target_of(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&path) {
            Ok(link) => path = folder_of(&path).join(link),
            // Not a link, or nothing yet.
            Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::NotFound) => {
                return Ok(path);
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::from_raw_os_error(nix::libc::ELOOP))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// A new file in the folder of `target`, under a name that nobody has: what is there already is somebody's,
/// and a link that is there leads elsewhere. `private`: its mode follows later.
fn temporary_next_to(target: &Path, private: bool) -> io::Result<(PathBuf, File)> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    options.mode(if private { 0o600 } else { 0o666 });
    let mut taken = None;
    for _ in 0..MAX_NAMES {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!(".pushbench-{}-{number}.tmp", std::process::id());
        let path = folder_of(target).join(name);
        match options.open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => taken = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(taken.unwrap_or_else(|| ErrorKind::AlreadyExists.into()))
}

fn keep_owner_and_mode(file: &File, existing: &Metadata) -> io::Result<()> {
    let new = file.metadata()?;
    if (new.uid(), new.gid()) != (existing.uid(), existing.gid()) {
        // Only root may give a file away; the content is what was asked for.
        let _ = fchown(file, Some(existing.uid()), Some(existing.gid()));
    }
    // After the owner, as a change of that clears bits of the mode (`chown(2)`).
    file.set_permissions(Permissions::from_mode(existing.mode() & 0o7777))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileTypeExt, symlink};

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("it exists").mode() & 0o7777
    }

    /// Names in a folder, sorted.
    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let mut names: Vec<String> = entries
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .into_string()
                    .expect("UTF-8")
            })
            .collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn a_folder_takes_the_place_of_another_and_nothing_is_left_aside() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [new, old] = ["new", "below/old"].map(|name| folder.path().join(name));
        for text in ["one", "two"] {
            fs::create_dir(&new).expect("writable");
            fs::write(new.join("file"), text).expect("writable");
            replace_folder(&new, &old).expect("in its place");
            assert_eq!(fs::read_to_string(old.join("file")).expect("there"), text);
        }
        assert!(replace_folder(&new, &old).is_err(), "there is none");
        assert_eq!(
            fs::read_to_string(old.join("file")).expect("as it was"),
            "two"
        );
        let left = fs::read_dir(folder.path().join("below")).expect("there");
        assert_eq!(left.count(), 1);
    }

    #[test]
    fn a_text_of_another_encoding_is_named_and_one_with_a_mark_is_read_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let read = |bytes: &[u8]| {
            fs::write(&path, bytes).expect("a file");
            read_text(&path, 10).map_err(|error| error.to_string())
        };
        assert_eq!(read(b"\xef\xbb\xbfa").as_deref(), Ok("\u{feff}a"));
        let utf16 = "its byte order mark (BOM) is that of UTF-16, but UTF-8 is expected";
        for bytes in [b"\xff\xfea\0", b"\xfe\xff\0a"] {
            assert_eq!(read(bytes), Err(utf16.to_owned()));
        }
        assert_eq!(read(b"ab\xffc"), Err("not UTF-8 from byte 2 on".to_owned()));
    }

    #[test]
    fn a_link_stays_a_link_and_its_target_is_replaced_with_its_mode() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("far")).expect("a folder");
        fs::write(at("far/file"), "old").expect("a file");
        fs::set_permissions(at("far/file"), Permissions::from_mode(0o600)).expect("its owner");
        symlink("far/file", at("near")).expect("a link");
        symlink(at("near"), at("nearer")).expect("a link");
        symlink("far/new", at("dangling")).expect("a link");
        symlink("loop", at("loop")).expect("a link");
        write(&at("nearer"), "new").expect("written");
        assert_eq!(fs::read_to_string(at("far/file")).expect("a file"), "new");
        assert_eq!(mode(&at("far/file")), 0o600);
        write(&at("dangling"), "made").expect("written");
        assert_eq!(fs::read_to_string(at("far/new")).expect("a file"), "made");
        for link in ["near", "nearer", "dangling"] {
            assert!(at(link).is_symlink(), "{link}");
        }
        let error = write(&at("loop"), "never").expect_err("a loop");
        assert_eq!(error.raw_os_error(), Some(nix::libc::ELOOP));
        assert_eq!(names(&at("far")), ["file", "new"]);
    }

    #[test]
    fn files_of_the_user_with_names_like_temporary_ones_are_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::write(at("elsewhere"), "mine").expect("a file");
        fs::write(at("X.md.tmp"), "mine").expect("a file");
        symlink("elsewhere", at("Y.md.tmp")).expect("a link");
        for name in ["X.md", "Y.md"] {
            write(&at(name), "text").expect("written");
        }
        assert_eq!(
            names(folder.path()),
            ["X.md", "X.md.tmp", "Y.md", "Y.md.tmp", "elsewhere"]
        );
        for name in ["X.md.tmp", "Y.md.tmp", "elsewhere"] {
            assert_eq!(
                fs::read_to_string(at(name)).expect("a file"),
                "mine",
                "{name}"
            );
        }
        // As long as a name may be.
        let long = at(&"x".repeat(255));
        write(&long, "text").expect("written");
        assert_eq!(fs::read_to_string(&long).expect("a file"), "text");
    }

    #[test]
    fn what_fails_leaves_the_file_as_it_was_and_nothing_next_to_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        write(&file, "old").expect("written");
        let error = replace(&file, |out| {
            out.write_all(b"half")?;
            Err(io::Error::other("no more"))
        });
        assert_eq!(error.expect_err("it failed").to_string(), "no more");
        assert_eq!(fs::read_to_string(&file).expect("a file"), "old");
        assert!(write(folder.path(), "text").is_err(), "a folder");
        assert!(write(&file.join("below"), "text").is_err(), "below a file");
        assert_eq!(names(folder.path()), ["file"]);
    }

    #[test]
    fn a_file_without_end_is_not_read_to_its_end() {
        let error = read_text(Path::new("/dev/zero"), 1_000).expect_err("no end");
        assert_eq!(
            error.to_string(),
            "it holds more than the 1000 bytes that are read of such a file"
        );
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        write(&file, "four").expect("written");
        assert_eq!(read_text(&file, 4).expect("it fits"), "four");
        assert!(read_text(&file, 3).is_err());
    }

    #[test]
    fn what_is_not_a_file_is_written_to() {
        write(Path::new("/dev/null"), "text").expect("it takes everything");
        let null = fs::metadata("/dev/null").expect("a device");
        assert!(null.file_type().is_char_device());
        let (reader, writer) = nix::unistd::pipe().expect("a pipe");
        let name = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer));
        write(Path::new(&name), "text").expect("written");
        drop(writer);
        let mut text = String::new();
        File::from(reader).read_to_string(&mut text).expect("read");
        assert_eq!(text, "text");
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        append(&log, "a").expect("made");
        append(&log, "b").expect("written");
        assert_eq!(fs::read_to_string(&log).expect("a file"), "ab");
    }
}
