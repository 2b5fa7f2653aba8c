// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Bundles: ours as U-Boot's tools see them, and theirs as we do.

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use bulkhead_plan::bundle::{self, Bundle, software_crc32};
use support::writer::{Configuration, Contents, Image, write};
use support::{demo_bundle, image, pack};

fn scratch(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("fit");
    fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

fn mkimage(arguments: &[&str]) -> String {
    let output = Command::new("mkimage")
        .args(arguments)
        .output()
        .expect("these tests need mkimage: scripts/setup installs u-boot-tools");
    assert!(output.status.success(), "mkimage: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn mkimage_lists_our_bundle() {
    let file = scratch("ours.itb");
    fs::write(&file, demo_bundle()).unwrap();
    let listing = mkimage(&["-l", file.to_str().unwrap()]);
    for line in ["(debian-12)", "(busybox-initrd)", "Hash algo:    crc32", "Default Configuration: 'default'"]
    {
        assert!(listing.contains(line), "{line} is missing in:\n{listing}");
    }
    let crc = format!("{:08x}", software_crc32(0, &support::linux_image()));
    assert!(listing.contains(&crc), "{crc} is missing in:\n{listing}");
}

#[test]
fn image_data_is_page_aligned() {
    let file = demo_bundle();
    let bundle = Bundle::parse(&file, software_crc32).unwrap();
    for name in bundle.image_names() {
        let (place, data) = bundle.image(name).unwrap();
        assert_eq!(place.start % 4096, 0, "{name}");
        assert_eq!(&file[place], data);
    }
}

/// A hand-written source through mkimage, with data inside the tree and behind it in both ways.
#[test]
fn what_mkimage_writes_is_read() {
    let data = scratch("theirs.data");
    fs::write(&data, b"what the image holds").unwrap();
    let source = scratch("theirs.its");
    fs::write(
        &source,
        format!(
            r#"/dts-v1/;
            / {{
                description = "by hand";
                #address-cells = <1>;
                images {{
                    thing {{
                        description = "thing"; type = "kernel"; arch = "arm64"; os = "linux"; compression = "none";
                        load = <0>; entry = <0>;
                        data = /incbin/("{}");
                        hash-1 {{ algo = "crc32"; }};
                        hash-2 {{ algo = "sha256"; }};
                        hash@3 {{ algo = "sha1"; }};
                    }};
                }};
                configurations {{ default = "it"; it {{ description = "it"; kernel = "thing"; fdt = "a", "b"; }}; }};
            }};"#,
            data.display()
        ),
    )
    .unwrap();
    let file = scratch("theirs.itb");
    for options in [&["-f"][..], &["-E", "-f"], &["-E", "-B", "1000", "-f"], &["-E", "-p", "2000", "-f"]] {
        let mut arguments = options.to_vec();
        arguments.extend([source.to_str().unwrap(), file.to_str().unwrap()]);
        mkimage(&arguments);
        let bytes = fs::read(&file).unwrap();
        let bundle =
            Bundle::parse(&bytes, software_crc32).unwrap_or_else(|error| panic!("{options:?}: {error}"));
        let (place, data) = bundle.image("thing").unwrap_or_else(|error| panic!("{options:?}: {error}"));
        assert_eq!(data, b"what the image holds", "{options:?}");
        assert_eq!(&bytes[place], data);
        let chosen = bundle.configuration(&[]).unwrap();
        assert_eq!(
            chosen,
            bundle::Configuration { name: "it".into(), overlays: vec!["a".into(), "b".into()] }
        );
    }
}

#[test]
fn the_configuration_for_the_most_specific_compatible_is_chosen() {
    let configuration = |name: &str, compatible: &[&str]| Configuration {
        name: name.into(),
        description: name.into(),
        compatible: compatible.iter().map(|string| (*string).into()).collect(),
        overlays: vec![],
    };
    let file = write(
        &Contents {
            configurations: vec![
                configuration("other", &["acme,other"]),
                configuration("soc", &["acme,soc"]),
                configuration("board", &["acme,older", "acme,board"]),
            ],
            ..Contents::default()
        },
        software_crc32,
    )
    .unwrap();
    let bundle = Bundle::parse(&file, software_crc32).unwrap();
    let chosen = |compatible: &[&str]| {
        let compatible: Vec<String> = compatible.iter().map(|string| (*string).into()).collect();
        bundle.configuration(&compatible).unwrap().name
    };
    assert_eq!(chosen(&["acme,board", "acme,soc"]), "board");
    assert_eq!(chosen(&["acme,new", "acme,soc"]), "soc");
    assert_eq!(chosen(&["else"]), "other");
}

#[test]
fn every_hash_is_checked() {
    for hash in ["crc32", "sha256", "sha1"] {
        let good = pack(vec![Image { hash: hash.into(), ..image("it", "kernel", vec![3; 64]) }]);
        let check = |file: &[u8]| Bundle::parse(file, software_crc32).unwrap().image("it").map(drop);
        check(&good).unwrap();
        let mut bad = good.clone();
        *bad.last_mut().unwrap() ^= 1;
        let problem = check(&bad).unwrap_err().to_string();
        assert!(problem.contains(hash) && problem.contains("damaged"), "{problem}");
    }
}

#[test]
fn the_given_crc_is_used() {
    let file = pack(vec![image("it", "kernel", vec![3; 64])]);
    let bundle = Bundle::parse(&file, |_, _| 7).unwrap();
    assert!(bundle.image("it").unwrap_err().to_string().contains("00000007"));
}

#[test]
fn packing_is_reproducible() {
    assert_eq!(demo_bundle(), demo_bundle());
}
