// Pictures by the programs' own gnuplot scripts (autograd/trace/picture.h), which do not end a run that has done its
// work.
#pragma once

#include <string>
#include <vector>

#include "autograd/tensor/tensor.h"
#include "nn/training/metrics_log.h"

namespace examples {

/// Draws a gnuplot script into the file `path`: the script's plot commands; data blocks go before them as
/// `$name << EOD`. Returns false, with the reason in a line on stderr, if it could not be drawn or written.
bool draw(const std::string& path, int width, int height, const std::string& script);

/// "$name << EOD" with a row of numbers a line.
std::string data_block(const std::string& name, const std::vector<std::vector<double>>& rows);
/// Of a matrix.
std::string data_block(const std::string& name, const attune::Tensor& matrix);

/// Steps and values, each row the mean over a `parts`-th of the run.
std::vector<std::vector<double>> averaged(const attune::nn::Series& series, std::size_t parts);

}  // namespace examples
