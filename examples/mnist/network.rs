//! What training needs of a network.

use crate::course::CourseNet;
use crate::images::Maps;
use crate::model::LeNet;
use minitorch::prelude::*;

/// A network for images of digits.
pub(crate) trait Network<B: Backend>: Layer<B> {
    /// Its name, in messages.
    const NAME: &'static str;

    /// Initial weights from the device's random state.
    fn new(device: &B) -> Self;

    /// The outputs of its convolutions for one image, for `feature-maps.svg`.
    fn feature_maps(&self, image: &Tensor<B>) -> Vec<Maps<B>>;
}

macro_rules! networks {
    ($($net:ident, $name:literal, $second:literal;)*) => { $(
        impl<B: Backend> Network<B> for $net<B> {
            const NAME: &'static str = $name;

            fn new(device: &B) -> Self {
                $net::new(device)
            }

            fn feature_maps(&self, image: &Tensor<B>) -> Vec<Maps<B>> {
                let [first, second] = self.features(image);
                vec![
                    Maps { title: "first convolution, after ReLU", values: first },
                    Maps { title: $second, values: second },
                ]
            }
        }
    )* };
}
networks! {
    LeNet, "LeNet-5", "second convolution, after ReLU and of the pooled first";
    CourseNet, "the course's network", "second convolution, after ReLU";
}
