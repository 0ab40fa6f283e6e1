//! Orders as the kernels read them: the structs of `kernels/`, number by number.

use bytemuck::{Pod, Zeroable};

/// An order that is some of the numbers behind the place where its launch begins.
pub(super) trait Order: Pod {
    /// All orders of a launch: how many, then one behind the other.
    fn all(told: &[i32]) -> &[Self] {
        let numbers = told[0] as usize * size_of::<Self>() / size_of::<i32>();
        bytemuck::cast_slice(&told[1..=numbers])
    }
}

macro_rules! orders {
    ($($(#[$meta:meta])* $name:ident { $($integer:ident)* $(; $($float:ident)*)? })*) => {$(
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Pod, Zeroable)]
        pub(super) struct $name {
            /// Which block of a GPU it begins at.
            _first: i32,
            $(pub $integer: i32,)*
            $($(pub $float: f32,)*)?
        }
        impl Order for $name {}
    )*};
}

orders! {
    /// See `kernels/products.cu`.
    Product {
        _across a a_stride b b_stride c c_stride rows columns inner flags bias
        y y_stride z z_stride lambda modes u u_stride v v_stride among
    }
    /// See `kernels/rows.cu`.
    Norm { x y gamma beta scale rows columns }
    NormBack { x y dy dx gamma scale rows columns among }
    ColumnSums { x by out rows columns }
    Cells { what rows columns to to_stride a a_stride b b_stride c c_stride }
    /// See `kernels/learning.cu`.
    Targets { q1 q2 rewards terminated out rows range; discount }
    Sequences {
        latents stride targets d_latents predicted rewards d_rewards q1 q2 values d_q1 d_q2
        mask importance priorities out batch horizon latent;
        consistency reward value rho cap
    }
    Climb { q1 q2 mask terminated d_q1 d_q2 out batch rows list_1 list_2; rho }
    Spectrum { raw_mu omega log_dt lambda modes }
    SpectrumBack { z z_stride dz rows raw_mu omega log_dt lambda modes d_mu d_omega d_log_dt }
    Squares { x count out blocks }
    Adam {
        x gradient first_moment second_moment count squares squared norm corrections;
        rate epsilon max_norm beta1 beta2
    }
    Follow { slow x count rate }
    Summary {
        sequences importance policy policy_rows out foresight predicted rewards mask batch horizon;
        consistency reward value
    }
}
