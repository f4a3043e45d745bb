//! Regression from a CSV file: the fuel consumption of cars from mass, power and age.

use crate::twin::{same_weights, show, show_tensor};
use minitorch::prelude::*;

#[derive(Module)]
struct Mlp<B: Backend> {
    hidden: Linear<B>,
    out: Linear<B>,
}

impl<B: Backend> Mlp<B> {
    fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        self.out.forward(&self.hidden.forward(x).tanh())
    }
}

/// The numbers below the header, `[rows, 4]`.
fn read_csv<B: Backend>(path: &str, device: &B) -> Result<Tensor<B>> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::io(path, error))?;
    let mut values = Vec::new();
    for (row, line) in text.lines().enumerate().skip(1) {
        let wrong = |why: String| Error::format(path, format!("line {}: {why}", row + 1));
        let fields: Vec<&str> = line.split(',').collect();
        if fields.len() != 4 {
            return Err(wrong(format!("{} fields, not 4", fields.len())));
        }
        for field in fields {
            values.push(field.parse::<f32>().map_err(|error| wrong(format!("{field}: {error}")))?);
        }
    }
    let rows = values.len() / 4;
    Ok(Tensor::from_vec(values, [rows, 4], device))
}

pub(crate) fn run<B: Backend>(device: &B) -> Result<()> {
    let table = read_csv("examples/ports/cars.csv", device)?;
    let (mean, std) = (table.mean(0), table.std(0, 1.0));
    let normalized = (&table - &mean) / &std;
    let (train, test) = (normalized.slice(..48), normalized.slice(48..));

    let mut model = Mlp { hidden: Linear::new(3, 16, device), out: Linear::new(16, 1, device) };
    same_weights(&mut model);
    let mut optimizer = Adam::new(0.01).weight_decay(1e-4);
    let mut losses = Vec::new();
    for _ in 0..40 {
        let mut total = 0.0;
        for batch in train.split(16, 0) {
            let (x, consumption) = (batch.slice((.., ..3)), batch.slice((.., 3..)));
            let loss = model.forward(&x).mse_loss(&consumption);
            optimizer.step(&mut model, &loss.backward());
            total += loss.item()?;
        }
        losses.push(total / 3.0);
    }
    show("losses", &[losses[0], losses[1], losses[39]]);

    let predict = |rows: &Tensor<B>| no_grad(|| model.forward(rows) * std.slice(3) + mean.slice(3));
    let error = predict(&test.slice((.., ..3))) - table.slice((48.., 3..));
    show("root mean square error of the test", &[error.square().mean(..).sqrt().item()?]);
    let car = Tensor::new([[1250.0, 85.0, 4.0]], device); // kg, kW, years
    show_tensor("litres per 100 km of a car", &predict(&((car - mean.slice(..3)) / std.slice(..3))))
}
