//! Splits work into transactions that stay below the service's limits: 3,000 changed rows and 10
//! MiB.

/// Limits of one transaction, with room for what the caller adds beside the items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Changed rows. Default 2,500; the service refuses the 3,001st.
    pub rows: usize,
    /// Bytes. Default 8 MiB; the service refuses above 10 MiB at COMMIT, its overhead per row and
    /// index entry included.
    pub bytes: usize,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self {
            rows: 2_500,
            bytes: 8 * 1024 * 1024,
        }
    }
}

/// What one item adds to a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weight {
    /// Rows it changes.
    pub rows: usize,
    /// Bytes it writes.
    pub bytes: usize,
}

/// Cuts `items` into consecutive slices, each within `limits`. An item heavier than the limits
/// stands alone: the server then says what is wrong with it.
///
/// ```
/// use dsql::{BatchLimits, Weight, batches};
/// let rows = vec!["x"; 6_000];
/// let sizes: Vec<usize> = batches(&rows, BatchLimits::default(), |r| Weight { rows: 1, bytes: r.len() })
///     .map(<[_]>::len)
///     .collect();
/// assert_eq!(sizes, [2_500, 2_500, 1_000]);
/// ```
pub fn batches<T>(
    items: &[T],
    limits: BatchLimits,
    weigh: impl Fn(&T) -> Weight,
) -> impl Iterator<Item = &[T]> {
    let mut rest = items;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (mut rows, mut bytes, mut taken) = (0_usize, 0_usize, 0_usize);
        for item in rest {
            let weight = weigh(item);
            rows = rows.saturating_add(weight.rows);
            bytes = bytes.saturating_add(weight.bytes);
            if taken > 0 && (rows > limits.rows || bytes > limits.bytes) {
                break;
            }
            taken += 1;
        }
        let (batch, after) = rest.split_at(taken);
        rest = after;
        Some(batch)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn batches_lose_nothing_keep_the_order_and_stay_within_the_limits(
            weights in prop::collection::vec((0_usize..40, 0_usize..5_000), 0..200)
        ) {
            let limits = BatchLimits { rows: 50, bytes: 10_000 };
            let weigh = |w: &(usize, usize)| Weight { rows: w.0, bytes: w.1 };
            let cut: Vec<&[(usize, usize)]> = batches(&weights, limits, weigh).collect();
            prop_assert_eq!(&cut.concat(), &weights);
            for batch in cut {
                let rows: usize = batch.iter().map(|w| w.0).sum();
                let bytes: usize = batch.iter().map(|w| w.1).sum();
                prop_assert!(!batch.is_empty());
                prop_assert!(batch.len() == 1 || (rows <= limits.rows && bytes <= limits.bytes));
            }
        }
    }
}
