// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every input of the corpora, and every one that ever broke something, once through its target.

use std::fs;
use std::path::Path;

#[test]
fn the_corpora_break_nothing() {
    for (name, target) in bulkhead_fuzz::TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
        let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut count = 0;
        for file in files {
            let path = file.unwrap().path();
            eprintln!("{}", path.display());
            target(&fs::read(&path).unwrap());
            count += 1;
        }
        assert!(count > 0, "{name} has no corpus");
    }
}
