// All small layers.
#pragma once

#include "nn/activation.h"
#include "nn/character_encoder.h"
#include "nn/containers.h"
#include "nn/convolution.h"
#include "nn/dropout.h"
#include "nn/embedding.h"
#include "nn/feed_forward.h"
#include "nn/highway.h"
#include "nn/linear.h"
#include "nn/loss.h"
#include "nn/norm.h"
