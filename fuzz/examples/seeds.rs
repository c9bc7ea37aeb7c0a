//! Writes the seeds into the corpora: every transcript, as each target would have it.

use std::fs;
use std::path::Path;

use seriatim_fuzz::seeds;

fn main() -> std::io::Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let transcripts = seeds::transcripts(&here.join("../tests/transcripts"))?;
    for (target, name, bytes) in seeds::seeds(&transcripts) {
        let folder = here.join("corpus").join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name), bytes)?;
    }
    Ok(())
}
