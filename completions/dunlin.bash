# bash completion for dunlin; made by 'dunlin completion bash'
_dunlin()
{
	local current=${COMP_WORDS[COMP_CWORD]} words=
	local store=${XDG_DATA_HOME:-$HOME/.local/share}/dunlin/models
	local cache=${XDG_CACHE_HOME:-$HOME/.cache}/dunlin/models
	COMPREPLY=()
	if [ "$COMP_CWORD" -eq 1 ]; then
		COMPREPLY=($(compgen -W 'run serve chat top health key embed rerank inspect prepare restore tokenize template logits perplexity bench doctor help --help --version' -- "$current"))
		return
	fi
	case ${COMP_WORDS[1]} in
	run) words='--help --max-tokens --system --file --raw --ignore-eos --stop --grammar --schema --logprobs --json --stats --speculation --threads --realtime --context --kv --memory --lora --no-verify --no-sandbox --temperature --dynatemp-range --dynatemp-exp --seed --logit-bias --top-n-sigma --top-k --typical-p --top-p --min-p --xtc-probability --xtc-threshold --mirostat --mirostat-ent --mirostat-lr --repeat-penalty --frequency-penalty --presence-penalty --penalty-last --dry-multiplier --dry-base --dry-allowed-length --dry-penalty-last-n --dry-sequence-breaker' ;;
	serve) words='--help --config --check --model --listen --host --key-file --make-key --tls-cert --tls-key --tls-client-ca --tls-client-crl --insecure-listen --connections --max-body --request-timeout --idle-timeout --drain --parallel --queue --share-prefixes --cache-dir --cache-size --worker --memory --context --threads --kv --lora --realtime --no-verify --no-sandbox' ;;
	chat) words='--help --model --system --file --key-file --ca --max-tokens --json --stats --temperature --seed --top-k --top-p --min-p' ;;
	top) words='--help --interval --key-file --ca --json' ;;
	health) words='--help --ready --ca --timeout' ;;
	key) words='--help --expires' ;;
	embed) words='--help --prefix --pooling --dimensions --no-normalise --truncate --jsonl --json --raw --threads --realtime --context --kv --memory --lora --no-sandbox' ;;
	rerank) words='--help --top --truncate --jsonl --json --threads --realtime --context --kv --memory --lora --no-sandbox' ;;
	inspect) words='--help --json --all --context --threads --kv --memory --lora --no-sandbox' ;;
	prepare) words='--help --output --json --no-sandbox' ;;
	restore) words='--help --no-sandbox' ;;
	tokenize) words='--help --ids --special --jsonl --no-sandbox' ;;
	template) words='--help --file --now --no-sandbox' ;;
	logits) words='--help --tokens --output --threads --context --kv --memory --lora --no-sandbox' ;;
	perplexity) words='--help --context --chunks --json --threads --kv --memory --lora --no-sandbox' ;;
	bench) words='--help --prompt --generate --repetitions --latency --svg --depth --sequences --json --threads --realtime --kv --memory --lora --no-verify --no-sandbox' ;;
	doctor) words='--help --json' ;;
	help) words='run serve chat top health key embed rerank inspect prepare restore tokenize template logits perplexity bench doctor ' ;;
	esac
	if [[ $current == -* || ${COMP_WORDS[1]} == help ]]; then
		COMPREPLY=($(compgen -W "$words" -- "$current"))
	else
		local names
		names=$(cd "$store" 2>/dev/null && ls -- *.gguf *.dunlin 2>/dev/null
			cd "$cache" 2>/dev/null && ls -- *.gguf *.dunlin 2>/dev/null)
		names=${names//.gguf/}
		COMPREPLY=($(compgen -W "${names//.dunlin/}" -- "$current")
			$(compgen -f -- "$current"))
	fi
}
complete -o filenames -F _dunlin dunlin
