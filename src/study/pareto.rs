//! Which of several choices are worth their cost.

/// The indices of the points `(cost, value)` that no other point beats: none costs at most as much and is worth at least
/// as much, with one of the two strictly better. In the order of their costs; points that are not finite take no part.
pub fn front(points: &[(f64, f64)]) -> Vec<usize> {
    let finite = |i: &usize| points[*i].0.is_finite() && points[*i].1.is_finite();
    let mut order: Vec<usize> = (0..points.len()).filter(finite).collect();
    // of equal costs the worthiest first, so that the others find themselves beaten
    order.sort_by(|&a, &b| points[a].0.total_cmp(&points[b].0).then(points[b].1.total_cmp(&points[a].1)));
    let mut front: Vec<usize> = Vec::new();
    for i in order {
        let beaten = front.last().is_some_and(|&best| {
            let ((cost, value), (its_cost, its_value)) = (points[best], points[i]);
            value > its_value || (value == its_value && cost < its_cost)
        });
        if !beaten {
            front.push(i);
        }
    }
    front
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_numbers() {
        //  0: cheapest   1: beaten by 3   2: dearest and best   3: on the front   4: as dear as 3, worse
        let points = [(1.0, 10.0), (3.0, 15.0), (9.0, 30.0), (2.0, 20.0), (2.0, 12.0)];
        assert_eq!(front(&points), [0, 3, 2]);
    }

    #[test]
    fn equal_points_are_both_on_the_front_and_equal_values_go_to_the_cheaper() {
        assert_eq!(front(&[(1.0, 5.0), (1.0, 5.0)]), [0, 1]);
        assert_eq!(front(&[(2.0, 5.0), (1.0, 5.0)]), [1]);
    }

    #[test]
    fn what_is_not_finite_takes_no_part() {
        assert_eq!(front(&[(f64::NAN, 9.0), (1.0, f64::INFINITY), (2.0, 1.0)]), [2]);
        assert!(front(&[]).is_empty());
    }
}
