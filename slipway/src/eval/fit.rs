//! Logistic regression with L2 by Newton's method: a few steps, no rate to choose, and the same each time.

/// The loss no longer falls by more than this share.
const ENOUGH: f64 = 1e-9;
const MAX_STEPS: usize = 50;

/// One observation.
#[derive(Clone, Debug)]
pub(crate) struct Observation {
    /// What is so of it, by number, and how much.
    pub(crate) traits: Vec<(usize, f64)>,
    /// What is to be told.
    pub(crate) holds: bool,
    /// How much it counts.
    pub(crate) counts: f64,
}

impl Observation {
    /// The log-odds under some weights.
    pub(crate) fn score(&self, weights: &[f64]) -> f64 {
        self.traits.iter().map(|(at, value)| weights[*at] * value).sum()
    }
}

/// The weights, by number, that explain the observations best; the first one is free, the others are held small.
pub(crate) fn fit(observations: &[&Observation], traits: usize, l2: f64) -> Vec<f64> {
    let mut weights = vec![0.0; traits];
    let mut loss = loss_of(observations, &weights, l2);
    for _ in 0..MAX_STEPS {
        let (gradient, curvature) = slope(observations, &weights, l2);
        let step = solve(curvature, gradient);
        let mut share = 1.0;
        let (next, lower) = loop {
            let next: Vec<f64> = weights.iter().zip(&step).map(|(weight, step)| weight - share * step).collect();
            let lower = loss_of(observations, &next, l2);
            if lower <= loss || share < 1e-6 {
                break (next, lower);
            }
            share /= 2.0;
        };
        let done = loss - lower <= ENOUGH * loss;
        if lower < loss {
            (weights, loss) = (next, lower);
        }
        if done {
            break;
        }
    }
    weights
}

fn loss_of(observations: &[&Observation], weights: &[f64], l2: f64) -> f64 {
    let one = |o: &&Observation| {
        let score = if o.holds { -o.score(weights) } else { o.score(weights) };
        o.counts * (score.max(0.0) + (-score.abs()).exp().ln_1p())
    };
    observations.iter().map(one).sum::<f64>() + weights.iter().skip(1).map(|w| w * w).sum::<f64>() * l2 / 2.0
}

/// The gradient of the loss, and its second derivatives below and on the diagonal, row by row.
fn slope(observations: &[&Observation], weights: &[f64], l2: f64) -> (Vec<f64>, Vec<f64>) {
    let n = weights.len();
    let (mut gradient, mut curvature) = (vec![0.0; n], vec![0.0; n * n]);
    for (at, weight) in weights.iter().enumerate().skip(1) {
        gradient[at] = l2 * weight;
        curvature[at * n + at] = l2;
    }
    for o in observations {
        let likely = 1.0 / (1.0 + (-o.score(weights)).exp());
        let (error, sharp) = (o.counts * (likely - f64::from(u8::from(o.holds))), o.counts * likely * (1.0 - likely));
        for (row, value) in &o.traits {
            gradient[*row] += error * value;
            for (column, other) in o.traits.iter().filter(|(column, _)| column <= row) {
                curvature[row * n + column] += sharp * value * other;
            }
        }
    }
    (gradient, curvature)
}

/// Solves `matrix · x = right` for a positive definite matrix, of which the lower half is given, by Cholesky's method.
fn solve(mut matrix: Vec<f64>, mut right: Vec<f64>) -> Vec<f64> {
    let n = right.len();
    for row in 0..n {
        for column in 0..=row {
            let before: f64 = (0..column).map(|k| matrix[row * n + k] * matrix[column * n + k]).sum();
            let rest = matrix[row * n + column] - before;
            matrix[row * n + column] = if row == column { rest.max(1e-12).sqrt() } else { rest / matrix[column * n + column] };
        }
    }
    for row in 0..n {
        let before: f64 = (0..row).map(|k| matrix[row * n + k] * right[k]).sum();
        right[row] = (right[row] - before) / matrix[row * n + row];
    }
    for row in (0..n).rev() {
        let after: f64 = (row + 1..n).map(|k| matrix[k * n + row] * right[k]).sum();
        right[row] = (right[row] - after) / matrix[row * n + row];
    }
    right
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observations() -> Vec<Observation> {
        let one = |traits: &[(usize, f64)], holds| Observation { traits: traits.to_vec(), holds, counts: 1.0 };
        let mut all = Vec::new();
        for n in 0..100 {
            // The first is so of all; the second tells; the third says nothing.
            all.push(one(&[(0, 1.0), (1, 1.0), (2, f64::from(n % 2))], n % 10 != 0));
            all.push(one(&[(0, 1.0), (2, f64::from(n % 2))], n % 10 == 0));
        }
        all
    }

    #[test]
    fn what_tells_gets_weight_and_what_does_not_gets_none() {
        let all = observations();
        let all: Vec<&Observation> = all.iter().collect();
        let weights = fit(&all, 3, 1e-6);
        // 90 of 100 with the trait, 10 of 100 without it: log-odds of ln 9 and -ln 9.
        assert!((weights[0] + 9.0f64.ln()).abs() < 0.2 && (weights[1] - 2.0 * 9.0f64.ln()).abs() < 0.01, "{weights:?}");
        let held = fit(&all, 3, 100.0);
        assert!(held[1] > 0.0 && held[1] < weights[1] / 2.0, "{held:?}");
        assert_eq!(fit(&all, 3, 1.0), fit(&all, 3, 1.0));
    }

    #[test]
    fn at_the_end_the_gradient_is_nothing() {
        let all = observations();
        let all: Vec<&Observation> = all.iter().collect();
        let weights = fit(&all, 3, 1.0);
        assert!(slope(&all, &weights, 1.0).0.iter().all(|g| g.abs() < 1e-3));
    }

    #[test]
    fn equations_are_solved() {
        let solved = solve(vec![4.0, 0.0, 2.0, 3.0], vec![2.0, 5.0]);
        assert!((4.0 * solved[0] + 2.0 * solved[1] - 2.0).abs() < 1e-9 && (2.0 * solved[0] + 3.0 * solved[1] - 5.0).abs() < 1e-9);
    }
}
