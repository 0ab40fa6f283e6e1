//! Prefix sums over priorities: set and sample in O(log n), no allocation.

/// Complete binary tree whose leaves are weights and whose nodes are the sums of their children.
#[derive(Clone, Debug)]
pub struct SumTree {
    /// Node 1 is the root; leaf i is `nodes[leaves + i]`.
    nodes: Vec<f64>,
    leaves: usize,
    len: usize,
}

impl SumTree {
    /// `len` leaves of weight 0.
    pub fn new(len: usize) -> Self {
        let leaves = len.next_power_of_two();
        Self { nodes: vec![0.0; 2 * leaves], leaves, len }
    }

    /// Sets a leaf. Nodes are recomputed from their children, so that rounding errors do not build up.
    pub fn set(&mut self, leaf: usize, weight: f64) {
        assert!(leaf < self.len && weight >= 0.0 && weight.is_finite(), "weight {weight} at {leaf}");
        let mut node = self.leaves + leaf;
        self.nodes[node] = weight;
        while node > 1 {
            node /= 2;
            self.nodes[node] = self.nodes[2 * node] + self.nodes[2 * node + 1];
        }
    }

    /// Weight of a leaf.
    pub fn get(&self, leaf: usize) -> f64 {
        self.nodes[self.leaves + leaf]
    }

    /// All weights.
    pub fn weights(&self) -> &[f64] {
        &self.nodes[self.leaves..][..self.len]
    }

    /// Sum of all weights.
    pub fn total(&self) -> f64 {
        self.nodes[1]
    }

    /// The leaf into which `at`, in [0, total), falls. Never a leaf of weight 0 while the total is positive.
    pub fn find(&self, mut at: f64) -> usize {
        let mut node = 1;
        while node < self.leaves {
            let left = self.nodes[2 * node];
            // rounding may carry `at` to the end of the range: never step into an empty half
            if at < left || self.nodes[2 * node + 1] == 0.0 {
                node *= 2;
            } else {
                at -= left;
                node = 2 * node + 1;
            }
        }
        node - self.leaves
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_are_found_in_proportion_to_their_weight() {
        let mut tree = SumTree::new(5);
        for (i, w) in [1.0, 0.0, 2.0, 0.0, 1.0].into_iter().enumerate() {
            tree.set(i, w);
        }
        assert_eq!(tree.total(), 4.0);
        let found: Vec<usize> = (0..8).map(|i| tree.find(i as f64 * 0.5)).collect();
        assert_eq!(found, [0, 0, 2, 2, 2, 2, 4, 4]);
        assert_eq!(tree.find(4.0), 4, "the end of the range belongs to the last positive leaf");
    }
}
