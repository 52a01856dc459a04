// Attune's layers and models, on top of its tensors and operations.
#pragma once

#include "autograd/autograd.h"
#include "nn/attention/additive.h"
#include "nn/attention/lsh.h"
#include "nn/attention/multihead.h"
#include "nn/gradcheck.h"
#include "nn/init.h"
#include "nn/layers.h"
#include "nn/models/gpt2.h"
#include "nn/models/reformer.h"
#include "nn/module.h"
#include "nn/positional.h"
#include "nn/recurrent.h"
#include "nn/reversible.h"
#include "nn/transformer.h"
