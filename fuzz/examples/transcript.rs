//! Prints an input of a fuzz target as a transcript: `cargo run --example transcript -- TARGET FILE`.

use std::error::Error;

use arbitrary::{Arbitrary, Unstructured};
use seriatim_fuzz::draft;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [target, file] = &arguments[..] else { return Err("usage: transcript TARGET FILE".into()) };
    let bytes = std::fs::read(file)?;
    let input = Unstructured::new(&bytes);
    print!(
        "{}",
        match target.as_str() {
            "line" => draft::of_reads(&Arbitrary::arbitrary_take_rest(input)?),
            "session" => draft::of_traffic(&Arbitrary::arbitrary_take_rest(input)?),
            "step" => draft::of_history(&Vec::arbitrary_take_rest(input)?),
            _ => return Err("transcripts show what line, session and step do".into()),
        }
    );
    Ok(())
}
