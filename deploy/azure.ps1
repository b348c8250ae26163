# What the scripts of this folder share: names, and how they call the Azure CLI. They read it with `. azure.ps1`.

$ErrorActionPreference = 'Stop'
# Invoke-Az looks at exit codes itself, and says more.
$PSNativeCommandUseErrorActionPreference = $false

# Runs `az` with the arguments and gives back what it prints, or stops with the command that failed.
function Invoke-Az {
    $arguments = @($args | ForEach-Object { $_ })
    Write-Verbose "az $arguments"
    $output = az @arguments --only-show-errors
    if ($LASTEXITCODE -ne 0) {
        throw "this command failed with exit code ${LASTEXITCODE}, and says above why: az $arguments"
    }
    $output
}

# Stops where a parameter of the script does not match its pattern. Attributes would not look at defaults, and these come
# from the environment.
function Assert-Parameter {
    param(
        [Parameter(Mandatory)] [object] $Pattern
    )
    foreach ($parameter in $Pattern.Keys) {
        foreach ($value in @(Get-Variable -Name $parameter -ValueOnly)) {
            if ("$value" -cnotmatch "\A($($Pattern[$parameter]))\z") {
                throw "-$parameter cannot be '$value': it must match $($Pattern[$parameter])"
            }
        }
    }
}

# The names of everything that belongs to one server, after the Cloud Adoption Framework: kind-workload-environment-number.
function Get-ServerName {
    param(
        [Parameter(Mandatory)] [string] $Environment,
        [Parameter(Mandatory)] [int] $ServerNumber
    )
    $tail = "mosquitto-$($Environment.ToLowerInvariant())-$($ServerNumber.ToString('000'))"
    @{
        Group = "rg-$tail"
        Machine = "vm-$tail"
        Disk = "osdisk-$tail"
        Interface = "nic-$tail"
        Firewall = "nsg-$tail"
        Network = "vnet-$tail"
        Subnet = "snet-$tail"
        Address6 = "pip-$tail"
        Address4 = "pipv4-$tail"
        Schedule = "shutdown-computevm-vm-$tail"
    }
}

# The tag by which a resource group is known to be one of ours.
$madeBy = 'deploy-mosquitto'

# Whether the server's resource group is there. One that deploy-mosquitto.ps1 did not make is left alone.
function Test-ServerGroup {
    param(
        [Parameter(Mandatory)] [string] $Group
    )
    if ((Invoke-Az group exists --name $Group) -ne 'true') {
        return $false
    }
    $found = Invoke-Az group show --name $Group --output json | ConvertFrom-Json
    if ($found.tags.DeployedBy -ne $madeBy) {
        throw "the resource group $Group was not made by deploy-mosquitto.ps1 and is left alone: choose another -ServerNumber or -Environment"
    }
    return $true
}
