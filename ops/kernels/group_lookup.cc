#include "ev_tf/variable/group_lookup.h"

#include <cmath>
#include <string>
#include <vector>

#include "ops/bridge/batch.h"
#include "ops/bridge/executor.h"
#include "ops/kernels/register.h"
#include "ops/kernels/tables.h"

namespace ev::kernels {
namespace {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;

// How the rows of each table are combined: the attributes, and the inputs of one call.
class CombineAttrs {
 public:
  explicit CombineAttrs(OpKernelConstruction* ctx) {
    int tables = 0, weighted = 0;
    std::vector<std::string> combiners;
    std::vector<float> max_norms;
    OP_REQUIRES_OK(ctx, ctx->GetAttr("N", &tables));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("W", &weighted));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("combiners", &combiners));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("max_norms", &max_norms));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("weighted", &weighted_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("trim", &trim_));
    const auto n = static_cast<size_t>(tables);
    OP_REQUIRES(
        ctx, combiners.size() == n && max_norms.size() == n && weighted_.size() == n,
        absl::InvalidArgumentError(absl::StrCat("combiners, max_norms and weighted: expected ", n, " of each")));
    int found = 0;
    for (size_t t = 0; t < n; ++t) {
      OP_REQUIRES(ctx, std::isfinite(max_norms[t]) && max_norms[t] >= 0.0f,
                  absl::InvalidArgumentError(
                      absl::StrCat("max_norm: expected a finite number > 0, or 0 for any, found ", max_norms[t])));
      Table table;
      table.tile = combiners[t] == "tile";
      table.rule.max_norm = max_norms[t];
      if (combiners[t] == "mean") table.rule.combiner = Combiner::kMean;
      if (combiners[t] == "sqrtn") table.rule.combiner = Combiner::kSqrtN;
      table.weights = weighted_[t] ? found++ : -1;
      tables_.push_back(table);
    }
    OP_REQUIRES(ctx, found == weighted,
                absl::InvalidArgumentError(absl::StrCat("weights: expected ", found, ", found ", weighted)));
  }

  int tables() const { return static_cast<int>(tables_.size()); }
  const CombineRule& rule(int t) const { return tables_[t].rule; }
  bool keeps_rows(int t) const { return tables_[t].weights >= 0 || tables_[t].rule.max_norm != 0.0f; }
  // The place of the table's weights among the weights, -1 for none.
  int weights(int t) const { return tables_[t].weights; }

  // Where the `ids` ids of table `t` stand, and how many entries they make; the lists begin at input `first_list`.
  absl::Status ReadIds(OpKernelContext* ctx, int first_list, int t, int64_t ids, SparseIds* sparse,
                       size_t* entries) const {
    const bool tile = tables_[t].tile;
    const Tensor& indices = ctx->input(first_list + t);
    const Tensor& shape = ctx->input(first_list + tables() + t);
    const int64_t columns = indices.dims() == 2 ? indices.dim_size(1) : 1;
    const int least = tile ? 2 : 1;
    if (indices.dims() < 1 || indices.dims() > 2 || columns < least || indices.dim_size(0) != ids) {
      return absl::InvalidArgumentError(absl::StrCat("table ", t, ": indices: expected shape [", ids, ",>=", least,
                                                     "], found ", indices.shape().DebugString()));
    }
    if (shape.dims() != 1 || shape.dim_size(0) < least) {
      return absl::InvalidArgumentError(absl::StrCat("table ", t, ": dense shape: expected a vector of at least ",
                                                     least, ", found ", shape.shape().DebugString()));
    }
    const auto sizes = shape.flat<int64_t>();
    *sparse = {bridge::AsSpan<int64_t>(indices), columns, sizes(0), tile ? sizes(1) : 1,
               tile    ? SparseIds::Kind::kCell
               : trim_ ? SparseIds::Kind::kTrimmedRow
                       : SparseIds::Kind::kRow};
    return OfTable(t, CountEntries(*sparse, entries));
  }

  static absl::Status OfTable(int t, const Status& status) {
    if (status.ok()) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("table ", t, ": ", status.message()));
  }

  // The weights of table `t`, null for none.
  absl::Status ReadWeights(OpKernelContext* ctx, int first_list, int t, int64_t ids, const float** weights) const {
    *weights = nullptr;
    if (tables_[t].weights < 0) return absl::OkStatus();
    const Tensor& tensor = ctx->input(first_list + 2 * tables() + tables_[t].weights);
    TF_RETURN_IF_ERROR(bridge::CheckVector(tensor, "weights", ids));
    *weights = tensor.flat<float>().data();
    return absl::OkStatus();
  }

  // The shape of the combined rows of table `t`.
  absl::Status OutputShape(int t, const SparseIds& ids, size_t entries, int64_t dim, TensorShape* shape) const {
    if (tables_[t].tile) return TensorShape::BuildTensorShape({ids.rows, ids.width * dim}, shape);
    return TensorShape::BuildTensorShape({static_cast<int64_t>(entries), dim}, shape);
  }

 private:
  struct Table {
    CombineRule rule;
    bool tile = false;
    int weights = -1;
  };
  std::vector<Table> tables_;
  std::vector<bool> weighted_;
  bool trim_ = false;
};

class GroupGatherOp final : public tensorflow::OpKernel {
 public:
  explicit GroupGatherOp(OpKernelConstruction* ctx) : OpKernel(ctx), dims_(ReadDims(ctx)) {}

  void Compute(OpKernelContext* ctx) override {
    bridge::RunGuarded(ctx, [&] { return Gather(ctx); });
  }

 private:
  absl::Status Gather(OpKernelContext* ctx) const {
    Tables tables;
    TF_RETURN_IF_ERROR(tables.Read(ctx, dims_, static_cast<int>(dims_.size())));
    const auto n = static_cast<int>(dims_.size());
    std::vector<TableLookup> lookups;
    for (int t = 0; t < n; ++t) {
      TensorShape shape = ctx->input(n + t).shape();
      TF_RETURN_IF_ERROR(shape.AddDimWithStatus(dims_[t]));
      Tensor* rows = nullptr;
      TF_RETURN_IF_ERROR(ctx->allocate_output(t, shape, &rows));
      lookups.push_back(
          {tables.variable(t), tables.keys(t), nullptr, CombineRule(), nullptr, nullptr, rows->flat<float>().data()});
    }
    bridge::PoolExecutor executor(ctx);
    return bridge::ToTf(LookupTables(lookups, executor));
  }

  const std::vector<int64_t> dims_;
};

class GroupLookupOp final : public tensorflow::OpKernel {
 public:
  explicit GroupLookupOp(OpKernelConstruction* ctx) : OpKernel(ctx), dims_(ReadDims(ctx)), combine_(ctx) {}

  void Compute(OpKernelContext* ctx) override {
    bridge::RunGuarded(ctx, [&] { return Lookup(ctx); });
  }

 private:
  absl::Status Lookup(OpKernelContext* ctx) const {
    const int n = combine_.tables();
    const int first_list = 2 * n;
    Tables tables;
    TF_RETURN_IF_ERROR(tables.Read(ctx, dims_, static_cast<int>(dims_.size())));
    std::vector<SparseIds> sparse(dims_.size());
    std::vector<TableLookup> lookups;
    for (int t = 0; t < n; ++t) {
      TF_RETURN_IF_ERROR(bridge::CheckVector(ctx->input(n + t), "keys", -1));
      const auto ids = static_cast<int64_t>(tables.keys(t).size());
      const float* weights = nullptr;
      size_t entries = 0;
      TensorShape shape;
      TF_RETURN_IF_ERROR(combine_.ReadIds(ctx, first_list, t, ids, &sparse[t], &entries));
      TF_RETURN_IF_ERROR(combine_.ReadWeights(ctx, first_list, t, ids, &weights));
      TF_RETURN_IF_ERROR(combine_.OutputShape(t, sparse[t], entries, dims_[t], &shape));
      Tensor *out = nullptr, *rows = nullptr;
      const bool keep = combine_.keeps_rows(t);
      TF_RETURN_IF_ERROR(ctx->allocate_output(t, shape, &out));
      TF_RETURN_IF_ERROR(ctx->allocate_output(n + t, TensorShape({keep ? ids : 0, dims_[t]}), &rows));
      lookups.push_back({tables.variable(t), tables.keys(t), &sparse[t], combine_.rule(t), weights,
                         keep ? rows->flat<float>().data() : nullptr, out->flat<float>().data()});
    }
    bridge::PoolExecutor executor(ctx);
    return bridge::ToTf(LookupTables(lookups, executor));
  }

  const std::vector<int64_t> dims_;
  const CombineAttrs combine_;
};

class CombineOp final : public tensorflow::OpKernel {
 public:
  explicit CombineOp(OpKernelConstruction* ctx) : OpKernel(ctx), combine_(ctx) {}

  void Compute(OpKernelContext* ctx) override {
    bridge::RunGuarded(ctx, [&] { return CombineRows(ctx); });
  }

 private:
  absl::Status CombineRows(OpKernelContext* ctx) const {
    const int n = combine_.tables();
    std::vector<Entries> entries(static_cast<size_t>(n));
    std::vector<TableCombine> tables;
    for (int t = 0; t < n; ++t) {
      const Tensor& rows = ctx->input(t);
      TF_RETURN_IF_ERROR(bridge::CheckMatrix(rows, "rows", -1, -1));
      const int64_t ids = rows.dim_size(0), dim = rows.dim_size(1);
      const float* weights = nullptr;
      TensorShape shape;
      SparseIds sparse;
      size_t count = 0;
      TF_RETURN_IF_ERROR(combine_.ReadIds(ctx, n, t, ids, &sparse, &count));
      TF_RETURN_IF_ERROR(combine_.OfTable(t, entries[t].Build(sparse)));
      TF_RETURN_IF_ERROR(combine_.ReadWeights(ctx, n, t, ids, &weights));
      TF_RETURN_IF_ERROR(combine_.OutputShape(t, sparse, count, dim, &shape));
      Tensor* out = nullptr;
      TF_RETURN_IF_ERROR(ctx->allocate_output(t, shape, &out));
      if (out->NumElements() == 0) continue;
      tables.push_back({dim, &entries[t], combine_.rule(t), weights, rows.flat<float>().data(),
                        out->flat<float>().data(), nullptr, nullptr, nullptr});
    }
    bridge::PoolExecutor executor(ctx);
    CombineTables(tables, executor);
    return absl::OkStatus();
  }

  const CombineAttrs combine_;
};

class CombineGradOp final : public tensorflow::OpKernel {
 public:
  explicit CombineGradOp(OpKernelConstruction* ctx) : OpKernel(ctx), combine_(ctx) {}

  void Compute(OpKernelContext* ctx) override {
    bridge::RunGuarded(ctx, [&] { return Gradient(ctx); });
  }

 private:
  absl::Status Gradient(OpKernelContext* ctx) const {
    const int n = combine_.tables();
    std::vector<Entries> entries(static_cast<size_t>(n));
    std::vector<TableCombine> tables;
    for (int t = 0; t < n; ++t) {
      const Tensor& grads = ctx->input(t);
      const Tensor& rows = ctx->input(n + t);
      const Tensor& indices = ctx->input(2 * n + t);
      TF_RETURN_IF_ERROR(bridge::CheckMatrix(rows, "rows", -1, -1));
      const int64_t ids = indices.dims() == 0 ? 0 : indices.dim_size(0), dim = rows.dim_size(1);
      if (combine_.keeps_rows(t)) TF_RETURN_IF_ERROR(bridge::CheckMatrix(rows, "rows", ids, dim));
      TableCombine table{dim, &entries[t], combine_.rule(t), nullptr, nullptr, nullptr, nullptr, nullptr, nullptr};
      TensorShape shape;
      SparseIds sparse;
      size_t count = 0;
      TF_RETURN_IF_ERROR(combine_.ReadIds(ctx, 2 * n, t, ids, &sparse, &count));
      TF_RETURN_IF_ERROR(combine_.OfTable(t, entries[t].Build(sparse)));
      TF_RETURN_IF_ERROR(combine_.ReadWeights(ctx, 2 * n, t, ids, &table.weights));
      TF_RETURN_IF_ERROR(combine_.OutputShape(t, sparse, count, dim, &shape));
      TF_RETURN_IF_ERROR(bridge::CheckMatrix(grads, "grads", shape.dim_size(0), shape.dim_size(1)));
      if (combine_.weights(t) >= 0) {
        Tensor* weight_grads = nullptr;
        TF_RETURN_IF_ERROR(ctx->allocate_output(n + combine_.weights(t), TensorShape({ids}), &weight_grads));
        table.weight_grads = weight_grads->flat<float>().data();
        if (dim == 0) weight_grads->flat<float>().setZero();
      }
      if (entries[t].one_each() && !combine_.keeps_rows(t) && grads.dim_size(1) == dim) {
        ctx->set_output(t, grads);  // of one row each the combination is that row
        continue;
      }
      Tensor* row_grads = nullptr;
      TF_RETURN_IF_ERROR(ctx->allocate_output(t, TensorShape({ids, dim}), &row_grads));
      if (row_grads->NumElements() == 0) continue;
      if (combine_.keeps_rows(t)) table.rows = rows.flat<float>().data();
      table.out_grads = grads.flat<float>().data();
      table.row_grads = row_grads->flat<float>().data();
      tables.push_back(table);
    }
    bridge::PoolExecutor executor(ctx);
    CombineTablesGradient(tables, executor);
    return absl::OkStatus();
  }

  const CombineAttrs combine_;
};

EV_REGISTER_KEYED_KERNEL("EvGroupGather", GroupGatherOp);
EV_REGISTER_KEYED_KERNEL("EvGroupLookup", GroupLookupOp);
REGISTER_KERNEL_BUILDER(Name("EvCombine").Device(tensorflow::DEVICE_CPU), CombineOp);
REGISTER_KERNEL_BUILDER(Name("EvCombineGrad").Device(tensorflow::DEVICE_CPU), CombineGradOp);

}  // namespace
}  // namespace ev::kernels
