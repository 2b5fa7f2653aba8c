// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The image of a card: a partition table with one FAT partition.

use super::files::Files;
use anyhow::{Context, Result, ensure};
use fatfs::{Dir, FatType, FileSystem, FormatVolumeOptions, FsOptions, ReadWriteSeek};
use fscommon::{BufStream, StreamSlice};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;

const SECTOR: u32 = 512;
const MIB: u64 = 1 << 20;

/// Where the partition begins: at 1 MiB, which every card's erase blocks suit.
const START: u32 = (MIB / SECTOR as u64) as u32;

/// The partition table: where its first entry is, and what ends its sector.
const TABLE: usize = 446;
const TABLE_END: [u8; 2] = [0x55, 0xaa];

/// FAT32 with logical block addresses, in the partition table.
const FAT32_LBA: u8 = 0x0c;

/// Cylinder, head and sector of what lies past the last cylinder: those who read them use the addresses.
const PAST_CYLINDERS: [u8; 3] = [0xfe, 0xff, 0xff];

/// The smallest partition, and what is left over for FAT's own tables and a user's changes.
const SMALLEST: u64 = 64 * MIB;
const SPARE: u64 = 16 * MIB;

/// Fixed, so that the same files give the same image.
const VOLUME: u32 = 0x4255_4c4b;
const LABEL: [u8; 11] = *b"BULKHEAD   ";

/// Writes the image.
///
/// # Errors
/// When the file cannot be written or the files do not fit a card.
pub fn write(file: &File, files: &Files) -> Result<()> {
    let bytes: u64 = files.values().map(|bytes| bytes.len() as u64).sum();
    let size = (bytes + bytes / 16 + SPARE).max(SMALLEST).next_multiple_of(MIB);
    let sectors = u32::try_from(size / u64::from(SECTOR)).context("the files are too large for a card")?;
    file.set_len(u64::from(START) * u64::from(SECTOR) + size)?;

    file.write_all_at(&partition_table(START, sectors), 0)?;

    let mut partition = partition(file, START, sectors)?;
    let options = FormatVolumeOptions::new().fat_type(FatType::Fat32).volume_id(VOLUME).volume_label(LABEL);
    fatfs::format_volume(&mut partition, options).context("the partition cannot be formatted")?;
    let system = FileSystem::new(partition, FsOptions::new())?;
    {
        let root = system.root_dir();
        for (name, bytes) in files {
            if let Some((folder, _)) = name.rsplit_once('/') {
                root.create_dir(folder)?;
            }
            let mut to = root.create_file(name)?;
            to.write_all(bytes)?;
            to.flush()?;
        }
    }
    system.unmount()?;
    Ok(())
}

/// A master boot record without a program, with one partition.
fn partition_table(start: u32, sectors: u32) -> [u8; SECTOR as usize] {
    let mut record = [0; SECTOR as usize];
    let entry = &mut record[TABLE..TABLE + 16];
    entry[1..4].copy_from_slice(&PAST_CYLINDERS);
    entry[4] = FAT32_LBA;
    entry[5..8].copy_from_slice(&PAST_CYLINDERS);
    entry[8..12].copy_from_slice(&start.to_le_bytes());
    entry[12..].copy_from_slice(&sectors.to_le_bytes());
    record[SECTOR as usize - 2..].copy_from_slice(&TABLE_END);
    record
}

/// The first sector and the number of sectors of the first partition.
fn first_partition(file: &File) -> Result<(u32, u32)> {
    let mut record = [0; SECTOR as usize];
    file.read_exact_at(&mut record, 0)?;
    ensure!(record.ends_with(&TABLE_END), "it has no partition table");
    let entry = &record[TABLE..TABLE + 16];
    ensure!(entry[4] == FAT32_LBA, "its first partition is not FAT32");
    let number = |at: usize| u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]);
    Ok((number(8), number(12)))
}

fn partition(file: &File, start: u32, sectors: u32) -> Result<BufStream<StreamSlice<&File>>> {
    let start = u64::from(start) * u64::from(SECTOR);
    let slice = StreamSlice::new(file, start, start + u64::from(sectors) * u64::from(SECTOR))?;
    Ok(BufStream::new(slice))
}

/// Reads every file of an image's boot partition, as the firmware would find it.
///
/// # Errors
/// When there is no such partition, or it is damaged.
pub fn read(file: &File) -> Result<Files> {
    let (start, sectors) = first_partition(file)?;
    let system = FileSystem::new(partition(file, start, sectors)?, FsOptions::new())
        .context("its first partition holds no FAT file system")?;
    let mut files = Files::new();
    collect(&system.root_dir(), "", &mut files)?;
    Ok(files)
}

fn collect<T: ReadWriteSeek>(folder: &Dir<'_, T>, path: &str, files: &mut Files) -> Result<()> {
    for entry in folder.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if name == "." || name == ".." {
            continue;
        }
        let path = format!("{path}{name}");
        if entry.is_dir() {
            collect(&entry.to_dir(), &format!("{path}/"), files)?;
        } else {
            let mut bytes = Vec::new();
            entry.to_file().read_to_end(&mut bytes)?;
            files.insert(path, bytes);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Files {
        let file = |name: &str, size: usize| (name.to_owned(), (0..size).map(|n| (n % 251) as u8).collect());
        [file("config.txt", 700), file("a-rather-long-name-4-b.dtb", 40_000), file("overlays/demo.dtbo", 0)]
            .into_iter()
            .chain([file("kernel8.img", 3_000_000), file("overlays/second.dtbo", 513)])
            .collect()
    }

    #[test]
    fn what_is_written_is_read_and_twice_the_same() {
        let (one, other) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        write(&one, &files()).unwrap();
        assert!(read(&one).unwrap() == files());
        write(&other, &files()).unwrap();
        let size = one.metadata().unwrap().len();
        let bytes = |file: &File| {
            let mut bytes = vec![0; size as usize];
            file.read_exact_at(&mut bytes, 0).unwrap();
            bytes
        };
        assert_eq!(size, (START as u64) * 512 + SMALLEST);
        assert!(bytes(&one) == bytes(&other), "the same files give two images");
    }

    #[test]
    fn damage_is_found() {
        let file = tempfile::tempfile().unwrap();
        write(&file, &files()).unwrap();
        // The first bytes of the largest file's data, wherever they lie.
        let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        let start: Vec<u8> = (0..64).collect();
        let place = bytes.windows(64).rposition(|window| window == start).unwrap();
        file.write_all_at(&[0xff], place as u64).unwrap();
        assert!(read(&file).unwrap() != files());
        file.write_all_at(&[0; 512], 0).unwrap();
        assert!(read(&file).is_err());
    }
}
