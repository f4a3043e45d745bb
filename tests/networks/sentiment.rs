//! The network of the sentiment example: independence of padding, and exactness of explanations.

#[path = "../../examples/sentiment/explain.rs"]
mod explain;

use crate::model::{SHORTEST, TextCnn};
use explain::explain;
use minitorch::prelude::*;

const WORDS: usize = 30;
const DIM: usize = 8;

/// Vectors of zeros for padding and unknown words, random ones for the others.
fn net(device: &Cpu) -> TextCnn<Cpu> {
    device.rng().seed(3);
    let words = Tensor::randn([WORDS - 2, DIM], device);
    let mut net = TextCnn::new(Tensor::cat(&[Tensor::zeros([2, DIM], device), words], 0), true, device);
    net.eval();
    net
}

/// Sentences of these lengths, of different words.
fn sentences(lengths: &[usize]) -> Vec<Vec<i32>> {
    let word = |i: usize, k: usize| (2 + (i * 13 + k * 7 + k * k) % (WORDS - 2)) as i32;
    lengths.iter().enumerate().map(|(i, &length)| (0..length).map(|k| word(i, k)).collect()).collect()
}

/// Sentences as one tensor, padded to a length.
fn padded(sentences: &[Vec<i32>], length: usize, device: &Cpu) -> Tensor<Cpu> {
    let row = |sentence: &Vec<i32>| (0..length).map(|k| sentence.get(k).copied().unwrap_or(0)).collect::<Vec<_>>();
    Tensor::from_vec(sentences.iter().flat_map(row).collect(), [sentences.len(), length], device)
}

#[test]
fn logits_do_not_depend_on_the_batch() -> Result<()> {
    let device = Cpu::default();
    let net = net(&device);
    let all = sentences(&[0, 1, 2, 3, 4, 5, 6, 11, 20]);
    let together: Vec<f32> = net.forward(&padded(&all, 26, &device)).to_vec()?;
    for (sentence, expected) in all.iter().zip(together.chunks_exact(2)) {
        let alone = padded(std::slice::from_ref(sentence), sentence.len().max(SHORTEST), &device);
        let alone: Vec<f32> = net.forward(&alone).to_vec()?;
        for (a, b) in alone.iter().zip(expected) {
            assert!((a - b).abs() < 1e-5, "{} words: {alone:?} alone, {expected:?} in the batch", sentence.len());
        }
    }
    Ok(())
}

#[test]
fn padding_is_zero_for_any_value_of_its_row_and_has_no_gradient() -> Result<()> {
    let device = Cpu::default();
    let mut net = net(&device);
    // Shorter than the windows, whose first ones read padding.
    let ids = padded(&sentences(&[1, 2, 7]), 9, &device);
    let logits: Vec<f32> = net.forward(&ids).to_vec()?;
    let gradients = net.forward(&ids).cross_entropy(&Tensor::new([0, 1, 1], &device)).backward();
    let table: Vec<f32> = gradients.get(&net.embedding.weight).expect("a gradient").to_vec()?;
    assert!(table[..DIM].iter().all(|&x| x == 0.0), "{:?}", &table[..DIM]);
    assert!(table[DIM..].iter().any(|&x| x != 0.0));
    net.embedding.weight.update(|table| {
        let padding = Tensor::arange(0..WORDS as i32, &device).eq(0).unsqueeze(-1);
        table.masked_fill(&padding, 9.0)
    });
    assert_eq!(net.forward(&ids).to_vec::<f32>()?, logits);
    Ok(())
}

#[test]
fn constant_vectors_have_no_gradient_and_are_saved() -> Result<()> {
    let device = Cpu::default();
    let net = TextCnn::new(Tensor::randn([WORDS, DIM], &device), false, &device);
    let ids = padded(&sentences(&[7, 9]), 9, &device);
    let gradients = net.forward(&ids).cross_entropy(&Tensor::new([0, 1], &device)).backward();
    assert!(gradients.get(&net.embedding.weight).is_none() && gradients.get(&net.linear.weight).is_some());
    let state = net.state()?;
    assert!(state.contains("embedding.weight") && state.contains("convs.2.bias"), "{state:?}");
    // Three convolutions of 100 maps on 8-dimensional vectors with biases, and the linear layer.
    assert_eq!(net.num_parameters(), WORDS * DIM + 100 * (DIM * (3 + 4 + 5) + 3) + 602);
    Ok(())
}

#[test]
fn contributions_and_biases_sum_to_the_difference_of_the_logits() -> Result<()> {
    let device = Cpu::default();
    let net = net(&device);
    for sentence in sentences(&[0, 1, 2, 3, 4, 5, 8, 40]) {
        let explanation = explain(&net, &sentence, &device)?;
        assert_eq!(explanation.words.len(), sentence.len());
        // The single window of a short sentence counts.
        assert_eq!(explanation.words.iter().any(|&part| part != 0.0), !sentence.is_empty(), "{} words", sentence.len());
        let sum = explanation.words.iter().sum::<f64>() + explanation.biases;
        assert!(
            (sum - explanation.difference).abs() < 1e-5,
            "{} words: {sum}, not {}",
            sentence.len(),
            explanation.difference
        );
        let logits: Vec<f32> = net.forward(&padded(&[sentence], 45, &device)).to_vec()?;
        assert!((explanation.difference - (logits[1] - logits[0]) as f64).abs() < 1e-5);
    }
    // The vector of an unknown word is zero, so it contributes nothing.
    let explanation = explain(&net, &[5, 1, 9, 1, 1, 6], &device)?;
    assert_eq!([1, 3, 4].map(|i| explanation.words[i]), [0.0; 3]);
    assert!([0, 2, 5].iter().any(|&i| explanation.words[i] != 0.0));
    Ok(())
}
