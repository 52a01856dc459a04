// Pictures through gnuplot.
#pragma once

#include <string>
#include <vector>

namespace examples {

/// Draws a gnuplot script into the PNG file `path`: the script's plot commands; data blocks go before them as `$name <<
/// EOD`. Returns false, with a line on stderr, if gnuplot is missing or fails.
bool draw(const std::string& path, int width, int height, const std::string& script);

/// "$name << EOD" with a row of numbers a line.
std::string data_block(const std::string& name, const std::vector<std::vector<double>>& rows);

}  // namespace examples
