-- Pages of HTML from their Markdown, all in one process: pandoc lua pages.lua JOBS TEMPLATE
-- JOBS: a JSON list of {text, format, variables, target}

local function content(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("a")
  file:close()
  return text
end

local template = pandoc.template.compile(content(arg[2]))
for _, job in ipairs(pandoc.json.decode(content(arg[1]), false)) do
  local options = pandoc.WriterOptions {
    template = template,
    table_of_contents = true,
    toc_depth = 3,
    html_math_method = "mathml",
    variables = job.variables,
  }
  local page = pandoc.write(pandoc.read(job.text, job.format), "html5", options)
  local file = assert(io.open(job.target, "wb"))
  file:write(page)
  file:close()
end
