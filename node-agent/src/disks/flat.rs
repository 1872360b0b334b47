//! What a qcow2 file of ours holds as a disk: its clusters, and below them an image's.
//!
//! A guest that broke out of its QEMU may have written the file as it liked, and may still do so. So it is read here, where no
//! byte of it can name another file: the image below is the one that the agent knows, the size is the one that is wanted, and
//! what a file of ours never has is refused (QEMU's `docs/interop/qcow2.rst`).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::qcow2::{BYTES_OF_ENTRY, CLUSTER, CLUSTER_BITS, MAGIC, VERSION, invalid};

/// Of the incompatible features: reference counts that are not up to date, which nothing is read by here.
const DIRTY: u64 = 1;
/// The bits of an entry, of either level, that say where in the file something is.
const PLACE: u64 = 0x00ff_ffff_ffff_fe00;
/// An entry of the second level that says: all zeros, whatever is at its place.
const ZERO: u64 = 1;
const COMPRESSED: u64 = 1 << 62;

/// Where a cluster's content is.
#[derive(Clone, Copy)]
enum Cluster {
    Below,
    Zeros,
    At(u64),
}

/// A disk of a fixed size that is read and never written.
pub(crate) struct FlatDisk {
    file: File,
    /// The image below, and its size.
    base: Option<(File, u64)>,
    bytes: u64,
    mapping: Vec<u64>,
    /// The second level that was read last: which, and its entries.
    table: Option<(usize, Vec<u64>)>,
}

impl FlatDisk {
    /// The disk of `bytes` in `file`, which reads zero where it has nothing and `base` is none.
    ///
    /// # Errors
    /// It cannot be read, or is no file of ours or of this size.
    pub(crate) fn open(file: File, base: Option<File>, bytes: u64) -> io::Result<Self> {
        let mapping = mapping(&file, bytes)?;
        let sized = |base: File| Ok::<_, io::Error>((base.metadata()?.len(), base));
        let base = base.map(sized).transpose()?.map(|(bytes, base)| (base, bytes));
        Ok(Self { file, base, bytes, mapping, table: None })
    }

    /// Its size.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads into a piece of zeros what is at a place; whether there is anything.
    ///
    /// # Errors
    /// It cannot be read, or has what no file of ours has.
    pub(crate) fn read(&mut self, place: u64, piece: &mut [u8]) -> io::Result<bool> {
        let (mut at, mut rest, mut found) = (place, piece, false);
        while !rest.is_empty() {
            let within = at % CLUSTER;
            let length = usize::try_from(CLUSTER - within).unwrap_or(rest.len()).min(rest.len());
            let (part, others) = rest.split_at_mut(length);
            found |= self.read_cluster(at, within, part)?;
            (at, rest) = (at + length as u64, others);
        }
        Ok(found)
    }

    fn read_cluster(&mut self, at: u64, within: u64, part: &mut [u8]) -> io::Result<bool> {
        match (self.cluster(at)?, &self.base) {
            (Cluster::At(place), _) => read_or_zeros(&self.file, part, place + within),
            (Cluster::Below, Some((base, bytes))) if at < *bytes => read_or_zeros(base, part, at),
            (Cluster::Below, _) | (Cluster::Zeros, _) => Ok(false),
        }
    }

    fn cluster(&mut self, at: u64) -> io::Result<Cluster> {
        let index = usize::try_from(at / BYTES_OF_ENTRY).map_err(io::Error::other)?;
        let place = self.mapping.get(index).copied().unwrap_or_default() & PLACE;
        if place == 0 {
            return Ok(Cluster::Below);
        }
        let entries = match self.table.take() {
            Some((read, entries)) if read == index => entries,
            _ => table(&self.file, place, CLUSTER / 8)?,
        };
        let entry = usize::try_from(at % BYTES_OF_ENTRY / CLUSTER).map_err(io::Error::other)?;
        let entry = entries.get(entry).copied().unwrap_or_default();
        self.table = Some((index, entries));
        cluster(entry)
    }
}

/// The first level of the file's mapping: as many entries as a disk of `bytes` has.
fn mapping(file: &File, bytes: u64) -> io::Result<Vec<u64>> {
    let mut header = [0; 80];
    file.read_exact_at(&mut header, 0)?;
    let word = |at: usize| number::<4>(&header, at);
    let long = |at: usize| number::<8>(&header, at);
    let is_ours =
        header.starts_with(MAGIC) && word(4) == u64::from(VERSION) && word(20) == u64::from(CLUSTER_BITS);
    if !is_ours || word(32) != 0 || long(72) & !DIRTY != 0 {
        return Err(invalid("not a disk as this agent or its QEMU makes them"));
    }
    let entries = bytes.div_ceil(BYTES_OF_ENTRY);
    if long(24) != bytes || word(36) < entries {
        return Err(invalid("the file has another size than its disk"));
    }
    table(file, long(40), entries)
}

/// The big-endian number of so many bytes at a place.
fn number<const LENGTH: usize>(bytes: &[u8], at: usize) -> u64 {
    let number = bytes.get(at..at + LENGTH).unwrap_or_default();
    number.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn table(file: &File, at: u64, entries: u64) -> io::Result<Vec<u64>> {
    let mut bytes = vec![0; usize::try_from(entries * 8).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes.chunks_exact(8).map(|entry| number::<8>(entry, 0)).collect())
}

fn cluster(entry: u64) -> io::Result<Cluster> {
    if entry & COMPRESSED != 0 {
        return Err(invalid("the file has a compressed cluster, which no guest writes"));
    }
    Ok(match (entry & ZERO, entry & PLACE) {
        (ZERO, _) => Cluster::Zeros,
        (_, 0) => Cluster::Below,
        (_, place) => Cluster::At(place),
    })
}

/// A file may end within its last cluster: QEMU writes no more than the guest did.
fn read_or_zeros(file: &File, mut piece: &mut [u8], mut at: u64) -> io::Result<bool> {
    let mut found = false;
    while !piece.is_empty() {
        match file.read_at(piece, at) {
            Ok(0) => break,
            Ok(read) => {
                piece = piece.get_mut(read..).unwrap_or_default();
                (at, found) = (at + read as u64, true);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use super::*;
    use crate::disks::create_overlay;

    const MIB: u64 = 1 << 20;
    const BYTES: u64 = 1200 * MIB + 512;

    struct Disk {
        dir: tempfile::TempDir,
        overlay: PathBuf,
        base: PathBuf,
    }

    fn run(program: &str, arguments: &[&str]) {
        let output = Command::new(program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    }

    impl Disk {
        /// An overlay on an image of three MiB and a bit.
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let (overlay, base) = (dir.path().join("p.qcow2"), dir.path().join("base"));
            let content: Vec<u8> = (0..3 * MIB + 777).map(|place| (place % 251) as u8).collect();
            std::fs::write(&base, content).unwrap();
            create_overlay(&overlay, &base, BYTES).unwrap();
            Self { dir, overlay, base }
        }

        fn qemu_io(&self, commands: &[&str]) {
            let path = self.overlay.to_str().unwrap();
            let each = commands.iter().flat_map(|command| ["-c", command]);
            run("qemu-io", &["-f", "qcow2"].into_iter().chain(each).chain([path]).collect::<Vec<_>>());
        }

        fn flat(&self, with_base: bool) -> io::Result<FlatDisk> {
            let base = with_base.then(|| File::open(&self.base).unwrap());
            FlatDisk::open(File::open(&self.overlay).unwrap(), base, BYTES)
        }

        /// All of it, by its digest; in pieces that end within clusters.
        fn digest(&self, with_base: bool) -> io::Result<tepui_types::Digest> {
            let mut disk = self.flat(with_base)?;
            let mut all = Vec::new();
            while (all.len() as u64) < BYTES {
                let length = (BYTES - all.len() as u64).min(5 * MIB + 77);
                let mut piece = vec![0; usize::try_from(length).unwrap()];
                let found = disk.read(all.len() as u64, &mut piece)?;
                assert!(found || piece.iter().all(|byte| *byte == 0));
                all.append(&mut piece);
            }
            Ok(tepui_types::Digest::of(&all))
        }

        /// What qemu-img says that the disk holds.
        fn converted(&self) -> tepui_types::Digest {
            let raw = self.dir.path().join("raw");
            let paths = [self.overlay.to_str().unwrap(), raw.to_str().unwrap()];
            run("qemu-img", &["convert", "-q", "-f", "qcow2", "-O", "raw", paths[0], paths[1]]);
            tepui_types::Digest::of(&std::fs::read(raw).unwrap())
        }

        fn poke(&self, at: u64, bytes: &[u8]) {
            let file = File::options().write(true).open(&self.overlay).unwrap();
            file.write_all_at(bytes, at).unwrap();
        }
    }

    #[test]
    fn a_disk_is_what_qemu_img_makes_of_it() {
        let disk = Disk::new();
        assert_eq!(disk.digest(true).unwrap(), disk.converted(), "never written");
        disk.qemu_io(&[
            "write -P 7 1M 100k",
            "write -P 8 600M 64k",
            "write -P 9 1258291200 512",
            "write -z 2M 256k",
            "write -P 3 70000 1000",
            "discard 600M 64k",
            "write -P 5 1100M 3M",
        ]);
        let whole = disk.digest(true).unwrap();
        assert_eq!(whole, disk.converted());
        assert_ne!(whole, disk.digest(false).unwrap(), "without the image it has less");
    }

    #[test]
    fn what_the_file_says_of_other_files_is_never_followed() {
        let disk = Disk::new();
        let before = disk.digest(true).unwrap();
        let stranger = disk.dir.path().join("secret");
        std::fs::write(&stranger, vec![1; 5 << 20]).unwrap();
        let (name, overlay) = (stranger.to_str().unwrap(), disk.overlay.to_str().unwrap());
        run("qemu-img", &["rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", name, overlay]);
        assert_eq!(crate::disks::backing_file(&disk.overlay).unwrap(), Path::new(name));
        assert_eq!(disk.digest(true).unwrap(), before);
    }

    #[test]
    fn what_no_file_of_ours_has_is_refused() {
        let disk = Disk::new();
        let kept = std::fs::read(&disk.overlay).unwrap();
        for (at, bytes, what) in [
            (0, &[0][..], "another format"),
            (72, &[0, 0, 0, 0, 0, 0, 0, 4], "an external data file"),
            (72, &[0, 0, 0, 0, 0, 0, 0, 16], "extended entries"),
            (32, &[0, 0, 0, 1], "encryption"),
            (20, &[0, 0, 0, 9], "other clusters"),
            (24, &[0, 0, 0, 9, 0, 0, 0, 0], "another size"),
            (36, &[0, 0, 0, 1], "a shorter mapping"),
            (40, &[0, 9, 0, 0, 0, 0, 0, 0], "a mapping behind the end"),
        ] {
            disk.poke(at, bytes);
            assert!(disk.flat(true).is_err(), "{what}");
            std::fs::write(&disk.overlay, &kept).unwrap();
        }
        disk.poke(3 * CLUSTER, &[0, 9, 0, 0, 0, 0, 0, 0]);
        assert!(disk.digest(true).is_err(), "a table behind the end");
        std::fs::write(&disk.overlay, &kept).unwrap();
        disk.qemu_io(&["write -P 7 0 64k"]);
        disk.poke(4 * CLUSTER, &(COMPRESSED | (5 * CLUSTER)).to_be_bytes());
        assert!(disk.digest(true).is_err(), "a compressed cluster");
    }
}
