//! What an estimator sums; formulas in [`crate::terms::episodes`].

/// What is summed. The index of a form in arrays is its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// mean v_0.
    Direct,
    /// mean W_{T-1} G.
    Return,
    /// sum W_{T-1} G / sum W_{T-1}.
    NormalisedReturn,
    /// mean sum_t gamma^t W_t r_t.
    Reward,
    /// sum_t gamma^t sum W_t r_t / sum W_t.
    NormalisedReward,
    /// mean { v_0 + sum_t gamma^t W_t d_t }, d_t = r_t - q_t + gamma v_{t+1}.
    Residual,
    /// mean v_0 + sum_t gamma^t sum W_t d_t / sum W_t.
    NormalisedResidual,
    /// mean W_{T-1} (G - c) + c, c = Cov(W G, W) / Var(W).
    Centred,
}

/// Number of forms.
pub const FORMS: usize = 8;
/// All of them, by number.
pub const ALL_FORMS: [Form; FORMS] = [
    Form::Direct,
    Form::Return,
    Form::NormalisedReturn,
    Form::Reward,
    Form::NormalisedReward,
    Form::Residual,
    Form::NormalisedResidual,
    Form::Centred,
];

impl Form {
    /// Whether it divides by a sum of weights, and so is undefined when that is 0.
    pub fn self_normalised(self) -> bool {
        matches!(
            self,
            Self::NormalisedReturn | Self::NormalisedReward | Self::NormalisedResidual
        )
    }

    /// As Python knows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Return => "return",
            Self::NormalisedReturn => "normalised return",
            Self::Reward => "reward",
            Self::NormalisedReward => "normalised reward",
            Self::Residual => "residual",
            Self::NormalisedResidual => "normalised residual",
            Self::Centred => "centred",
        }
    }

    /// The form that is the same one where every episode has one step.
    #[must_use]
    pub fn with_one_step(self) -> Self {
        match self {
            Self::Reward => Self::Return,
            Self::NormalisedReward => Self::NormalisedReturn,
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_places() {
        for (i, form) in ALL_FORMS.into_iter().enumerate() {
            assert_eq!(form as usize, i);
        }
    }
}
