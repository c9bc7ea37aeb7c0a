//! Step 4, each name by itself: nobody was welcome under a name that somebody else held all the while.

use super::Violation;
use super::case::Case;

/// Checks who held which name when.
pub(super) fn check(case: &Case<'_>) -> Result<(), Violation> {
    for name in &case.known {
        for pair in name.holders.windows(2) {
            let (one, other) = (&case.sessions[pair[0]], &case.sessions[pair[1]]);
            let (Some(first), Some(second)) = (one.welcome, other.welcome) else { continue };
            if first.read_at < second.written_at && second.read_at < one.surely_until() {
                let what = format!("two sessions held {} at once", name.spelled);
                return Err(Violation::new("G7", what, &[(pair[0], first.item), (pair[1], second.item)]));
            }
        }
    }
    Ok(())
}
