//! The target `line`: any bytes, read in any pieces, ask for what they ask for as a whole.

use arbitrary::Arbitrary;
use seriatim::Limits;
use seriatim::protocol::Session;

use super::common::parser::{Asked, asked, read_all};

/// What one client sends, and how it comes in.
#[derive(Arbitrary, Debug, PartialEq)]
pub struct Reads<'a> {
    pub line_bytes_max: u8,
    pub recipients_max: u8,
    /// How many bytes each read brings, over and over; 0 is all there is.
    pub sizes: [u8; 4],
    pub bytes: &'a [u8],
}

impl<'a> Reads<'a> {
    pub fn limits(&self) -> Limits {
        Limits {
            line_bytes_max: self.line_bytes_max.into(),
            recipients_max: self.recipients_max.into(),
            ..Limits::default()
        }
    }

    pub fn for_each_read(&self, mut on_read: impl FnMut(&'a [u8])) {
        let mut rest = self.bytes;
        let mut sizes = self.sizes.iter().cycle();
        while let Some(&size) = sizes.next()
            && !rest.is_empty()
        {
            let size = if size == 0 { rest.len() } else { rest.len().min(size.into()) };
            let (read, behind) = rest.split_at(size);
            on_read(read);
            rest = behind;
        }
    }
}

/// The core and the naive parser read the same requests, and an unfinished line takes no more memory than it may (G9).
pub fn line(reads: &Reads) {
    let limits = reads.limits();
    let mut session = Session::new(&limits);
    let mut requests = Vec::new();
    reads.for_each_read(|read| {
        session.feed(read, &mut requests);
        assert!(session.memory_bytes() <= memory_bytes_max(&limits), "{} bytes held", session.memory_bytes());
    });
    session.finish(&mut requests);
    let requests: Vec<Asked> = requests.into_iter().map(asked).collect();
    assert_eq!(requests, read_all(reads.bytes, &limits));
}

/// A line with its `\r`, twice because a vector grows by doubling, and no less than the smallest vector.
fn memory_bytes_max(limits: &Limits) -> usize {
    (2 * (limits.line_bytes_max + 1)).max(8)
}
